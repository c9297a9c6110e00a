"""Training: the loss, the optimisers, one step, and the files of a run."""
