"""Segments into batches: which go together, how they are packed, and how they arrive in time."""
