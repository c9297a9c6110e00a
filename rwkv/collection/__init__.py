"""What people do with their own collections: import, predict, schedule, compare, fine-tune."""
