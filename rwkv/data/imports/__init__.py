"""Import of Anki collections and CSV files as users of a folder."""
