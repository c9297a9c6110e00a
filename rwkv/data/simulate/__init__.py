"""Simulated learners in the layout of anki-revlogs-10k, with their true recall probabilities; NumPy only.

A batch of learners is simulated session by session. A learner's random numbers come from a generator of its own, so
that batches do not show in the result.
"""

from rwkv.data.simulate.learners import QUIRKS
from rwkv.data.simulate.users import SPREAD, SimulatedUser, simulate_users

__all__ = ["QUIRKS", "SPREAD", "SimulatedUser", "simulate_users"]
