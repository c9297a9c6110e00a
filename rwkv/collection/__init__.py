"""Commands for one's own collection: import, predict, schedule, compare, fine-tune."""
