"""The report on a collection and on training runs: its contents and its page."""
