"""Batches of segments: which segments share a batch, how a batch is made, and how workers load it ahead."""
