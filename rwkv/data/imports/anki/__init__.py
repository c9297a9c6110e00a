"""Anki collections -> the reviews that count, and what is known of the cards. Nothing here writes to a collection."""
