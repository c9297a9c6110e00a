"""Loss, optimiser and the training loop."""
