"""Kills of commands at random moments, after which nothing may be lost; see `bench.kills.__main__`."""
