"""The network: from rows of inputs to probabilities. Knows tensors, not files."""
