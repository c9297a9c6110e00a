"""RWKV for spaced repetition."""

__version__ = "0.1.0"
