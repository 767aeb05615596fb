"""How the catalog is kept: its checks, its card, its statistics and the form of its files."""
