"""The sentence of a report on how far to trust it."""

from dataclasses import replace

import numpy as np
import pytest

from bench.report_contents import made_up_content
from rwkv.report.content import PredictedReviews
from rwkv.report.page.prediction_data import FEWEST_TO_JUDGE, trust_facts

REVIEWS = made_up_content(cards=10, reviews=4000).reviews
assert REVIEWS is not None


def of_algorithms(**p: np.ndarray) -> PredictedReviews:
    """Reviews that only these algorithms have predicted."""
    assert REVIEWS is not None
    names = {"fsrs": "FSRS-6", "avg": "AVG", "rwkv": "RWKV"}
    return replace(REVIEWS, p={names[name]: column for name, column in p.items()})


def chance(good: float) -> np.ndarray:
    """A prediction that knows a share of the outcome."""
    assert REVIEWS is not None
    return np.where(REVIEWS.y == 1, 0.5 + good / 2, 0.5 - good / 2)


@pytest.mark.parametrize(
    ("rwkv", "fsrs", "avg", "sentence"),
    [
        (0.6, 0.5, 0.4, "was ahead of FSRS-6 and of your average."),
        (0.5, 0.6, 0.4, "was behind FSRS-6 and ahead of your average."),
        (0.4, 0.5, 0.6, "was behind FSRS-6 and your average. Do not rely on its numbers: your average is as good."),
        (0.5, 0.5, 0.4, "was level with FSRS-6 and ahead of your average."),
        (0.5, 0.6, 0.5, "was behind FSRS-6 and level with your average. Do not rely on"),
    ],
)
def test_the_sentence_names_the_better_algorithm(rwkv: float, fsrs: float, avg: float, sentence: str) -> None:
    assert REVIEWS is not None
    facts = trust_facts(of_algorithms(rwkv=chance(rwkv), fsrs=chance(fsrs), avg=chance(avg)), own=0)
    later = int((~REVIEWS.same_day).sum())
    assert facts["reviews"] == later
    assert str(facts["sentence"]).startswith(f"On your {later:,} counted reviews RWKV was")
    assert sentence in str(facts["sentence"])


def test_a_difference_within_the_noise_gives_no_verdict() -> None:
    assert REVIEWS is not None
    noise = np.random.default_rng(1).normal(0, 0.05, len(REVIEWS))
    p = np.full(len(REVIEWS), 0.85)
    facts = trust_facts(of_algorithms(rwkv=p + noise * (REVIEWS.y - 0.5) * 0.01, fsrs=p, avg=p), own=0)
    assert facts["verdicts"] == {"FSRS-6": "level", "AVG": "level"}


def test_too_few_own_reviews_give_no_verdict() -> None:
    assert REVIEWS is not None
    person = (np.arange(len(REVIEWS)) >= FEWEST_TO_JUDGE // 2).astype(np.int32)
    facts = trust_facts(replace(REVIEWS, person=person), own=0)
    assert 0 < facts["reviews"] < FEWEST_TO_JUDGE
    assert facts["verdicts"] == {}
    assert "too few reviews for a verdict" in str(facts["sentence"])
    only_ours = replace(REVIEWS, p={"RWKV": REVIEWS.p["RWKV"]})
    assert "too few reviews for a verdict" in str(trust_facts(only_ours, own=0)["sentence"])
