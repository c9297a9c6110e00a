"""The page of a report: compact columns of numbers, and an HTML file whose scripts (browser/) draw them."""
