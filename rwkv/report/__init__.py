"""What a report says of a collection and of training runs, and its page."""
