"""Sources of reviews, Anki collections and CSV files, and how each becomes a user of a folder."""
