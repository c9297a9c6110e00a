"""Fingerprints of histories, on which saved engines rely."""

from dataclasses import fields, replace

import pytest

from rwkv.recurrent.features import Review
from rwkv.recurrent.person import fingerprint_of

REVIEW = Review(
    review_th=3,
    card=7,
    note=70,
    deck=700,
    preset=7000,
    note_missing=False,
    deck_missing=True,
    preset_missing=False,
    day_offset=12,
    elapsed_days=2,
    elapsed_s=172_801,
    rating=4,
    state=2,
    duration_ms=4321,
    shares_note_code=True,
)


@pytest.mark.parametrize("name", [field.name for field in fields(Review)])
def test_a_fingerprint_depends_on_every_column(name: str) -> None:
    value = getattr(REVIEW, name)
    other = replace(REVIEW, **{name: not value if isinstance(value, bool) else value + 1})
    assert fingerprint_of([REVIEW, other]) != fingerprint_of([REVIEW, REVIEW])


def test_a_fingerprint_stays_what_it_was() -> None:
    assert fingerprint_of([REVIEW]).hex() == "b22d6a7978e666152330c7d729b83ac65ed1dd8d0b50483e9f70a9e0cc121d5e"
