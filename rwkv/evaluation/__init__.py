"""Predictions of whole histories, their metrics, the result files, and what they are compared with."""
