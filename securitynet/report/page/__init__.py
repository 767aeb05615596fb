"""Pages of results: one HTML file each, with numbers, charts and rankings."""
