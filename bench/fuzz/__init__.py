"""Damaged and wild files of every kind that the project reads; see `bench.fuzz.__main__`."""
