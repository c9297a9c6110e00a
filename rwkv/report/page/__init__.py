"""The page of a report: its numbers in compact columns, and one HTML file whose scripts (browser/) draw them."""
