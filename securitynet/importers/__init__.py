"""How the catalog is filled and kept: importers of published tables, the catalog's card, its checks."""
