"""Predictions of whole histories, their metrics, the result files, and baselines to compare them with."""
