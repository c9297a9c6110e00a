"""Reviews in CSV files."""
