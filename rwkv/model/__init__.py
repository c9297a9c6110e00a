"""The network: from rows of inputs to probabilities, and its files of weights."""
