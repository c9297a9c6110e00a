"""Simulated learners in the layout of anki-revlogs-10k, with true recall probabilities. Uses only NumPy.

A batch of learners is simulated session by session. Each learner has its own random generator, so the result does not
depend on the batches.
"""

from rwkv.data.simulate.learners import QUIRKS, Learners, draw_learners
from rwkv.data.simulate.users import SPREAD, SimulatedUser, histories, simulate_users

__all__ = ["QUIRKS", "SPREAD", "Learners", "SimulatedUser", "draw_learners", "histories", "simulate_users"]
