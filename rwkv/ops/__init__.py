"""Numerical kernels on tensors. Each has a plain reference that defines it."""
