"""Import of Anki collections: the reviews that count, and the cards. Collections are only read."""
