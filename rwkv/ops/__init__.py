"""Numerical kernels on tensors; each is defined by a plain reference."""
