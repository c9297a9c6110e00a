"""Invented contents of a report of any size, for the page's benchmark and tests."""

import numpy as np

from rwkv.evaluation.summary import Estimate
from rwkv.report.content import (
    CURVE_TIMES_S,
    NEW,
    REVIEWED,
    CardsNow,
    ComparisonRow,
    PastReviews,
    PredictedReviews,
    ReportContent,
    Today,
    TrainingRun,
    Workload,
)

DECKS = (
    "Spanish::Vocabulary",
    "Spanish::Grammar",
    "Medicine::Anatomy::Upper limb",
    "Medicine::Anatomy::Lower limb",
    "Medicine::Pharmacology",
    "Capitals of the world",
    "Kanji",
    "Piano & chords",
)
_WORDS = (
    "casa",
    "perro",
    "nervus ulnaris",
    "β-blocker",
    "Ulaanbaatar",
    "水",
    "C♯ minor",
    "llover",
    "A < B",
    "os coxae",
)
_TODAY = 20_600


def made_up_content(cards: int, reviews: int, seed: int = 1) -> ReportContent:
    """Invent a collection whose learner forgets by a power law, and predictions of varying accuracy."""
    rng = np.random.default_rng(seed)
    predicted, now = _reviews(rng, reviews), _cards(rng, cards)
    return ReportContent(
        title="Ada's collection",
        subtitle=f"user 1 · {cards:,} cards · 27 May 2026, 18:20",
        notice="The learner and all numbers are invented.",
        facts=(("Model", "none"), ("Seed", str(seed))),
        today=_TODAY,
        decks=DECKS,
        decks_of_reviews=DECKS,
        people=("Ada",),
        reviews=predicted,
        past=_past(rng, now, reviews),
        cards=now,
        due=_due(now),
        workload=_workload(rng),
        comparison=_comparison(),
        superiority={
            "RWKV": {"RWKV-P": 0.1, "FSRS-6": 0.96},
            "RWKV-P": {"RWKV": 0.9, "FSRS-6": 0.99},
            "FSRS-6": {"RWKV": 0.04, "RWKV-P": 0.01},
        },
        training=(_run(rng),),
    )


def _forgetting(t: np.ndarray, stability: np.ndarray) -> np.ndarray:
    return (1 + t / (9 * stability)) ** -0.6


def _decks(rng: np.random.Generator, count: int) -> np.ndarray:
    shares = 0.6 ** np.arange(len(DECKS))
    return rng.choice(len(DECKS), count, p=shares / shares.sum()).astype(np.int32)


def _reviews(rng: np.random.Generator, count: int) -> PredictedReviews:
    same_day = rng.random(count) < 0.15
    stability_s = np.exp(rng.normal(14, 1.6, count))
    elapsed_s = np.where(same_day, rng.integers(60, 20_000, count), stability_s * rng.uniform(0.1, 4, count) + 40_000)
    forgetfulness = np.exp(rng.normal(0, 0.8, count))
    truth = np.clip(_forgetting(elapsed_s, stability_s / forgetfulness) - same_day * 0.1, 0.02, 0.995)
    logit = np.log(truth / (1 - truth))
    # The error of each algorithm's logit, and how far it corrects for that.
    noise = {"RWKV-P": (0.4, 1.0), "RWKV": (0.6, 1.0), "FSRS-6": (0.9, 0.6), "FSRS-6-default": (1.1, 0.2)}
    p = {name: _estimated(rng, logit, *errors) for name, errors in noise.items()} | {
        "AVG": np.full(count, truth.mean())
    }
    for name in ("FSRS-6", "FSRS-6-default", "AVG"):
        p[name][same_day] = np.nan
    return PredictedReviews(
        y=(rng.random(count) < truth).astype(np.int8),
        p=p,
        elapsed_s=elapsed_s.astype(np.int64),
        same_day=same_day,
        deck=_decks(rng, count),
        person=np.zeros(count, np.int32),
        day=np.sort(rng.integers(_TODAY - 900, _TODAY, count)),
        has_dates=True,
    )


def _estimated(rng: np.random.Generator, logit: np.ndarray, error: float, prudence: float) -> np.ndarray:
    """Estimate recall with errors in its logit. Prudence 1 shrinks it towards the mean so that it is calibrated."""
    seen = logit + rng.normal(0, error, len(logit))
    trust = logit.var() / (logit.var() + error**2)
    estimate = logit.mean() + (prudence * trust + 1 - prudence) * (seen - logit.mean())
    return 1 / (1 + np.exp(-estimate))


def _cards(rng: np.random.Generator, count: int) -> CardsNow:
    deck = _decks(rng, count)
    stability_s = np.exp(rng.normal(15.2, 1.8, count))
    elapsed_s = stability_s * rng.gamma(1.5, 0.5, count) * np.linspace(0.7, 4, len(DECKS))[deck]
    new = rng.random(count) < 0.12
    elapsed_s[new] = np.nan
    curves = _forgetting(CURVE_TIMES_S, stability_s[:, None])
    p_now = _forgetting(elapsed_s, stability_s)
    # Solves the power law for a recall of 0.9.
    interval_days = stability_s / 86_400 * 9 * (0.9 ** (-1 / 0.6) - 1) + 0 * elapsed_s
    words = rng.choice(_WORDS, count)
    return CardsNow(
        card_id=1_500_000_000_000 + np.cumsum(rng.integers(1, 90_000, count)),
        note=[f"{word} {number}" for number, word in enumerate(words.tolist())],
        deck=deck,
        kind=np.where(new, NEW, REVIEWED).astype(np.uint8),
        suspended=rng.random(count) < 0.03,
        p_now=p_now,
        p_asked=np.clip(p_now + rng.normal(0, 0.03, count), 0.01, 0.999),
        p_fsrs=np.clip(p_now + rng.normal(0.01, 0.05, count), 0.01, 0.999),
        elapsed_s=elapsed_s,
        curves=np.where(new[:, None], np.nan, curves),
        retention=np.full(count, 0.9),
        interval_days=interval_days,
        fsrs_days=np.maximum(1, np.round(interval_days * np.exp(rng.normal(0, 0.4, count)))),
        anki_days=np.maximum(1, np.round(interval_days * np.exp(rng.normal(0.2, 0.5, count)))),
        anki_due=np.round(interval_days * np.exp(rng.normal(0.2, 0.5, count)) - elapsed_s / 86_400),
    )


def _due(cards: CardsNow) -> Today:
    row = np.flatnonzero((cards.interval_days < cards.elapsed_s / 86_400 + 0.5) & ~cards.suspended)
    return Today(row, 0.15 * len(row), float(cards.p_now[row].mean()) if len(row) else float("nan"))


def _past(rng: np.random.Generator, cards: CardsNow, count: int) -> PastReviews:
    """Invent reviews of cards that were learnt one after another; recall is lower late in the day."""
    known = np.flatnonzero(~np.isnan(cards.p_now))
    day = np.sort((_TODAY - 900 * rng.random(count) ** 1.3).astype(np.int64))
    day -= (day % 11 == 0).astype(np.int64)  # every eleventh day has no reviews
    row = known[(np.arange(count) * len(known) // count * rng.random(count)).astype(np.int64)]
    order = np.lexsort((np.arange(count), row))
    is_first = np.diff(row[order], prepend=-1) != 0
    gap = np.empty(count, np.int64)
    gap[order] = np.where(is_first, -1, np.diff(day[order], prepend=0))
    hour = np.clip(rng.normal(19, 3, count), 0, 23).astype(np.int8)
    recalled = rng.random(count) < np.where(gap > 20, 0.86, 0.9) - 0.003 * (hour > 20)
    rating = np.where(recalled, rng.choice([2, 3, 3, 3, 3, 4], count), 1).astype(np.int8)
    chance = np.clip(rng.normal(0.9, 0.05, count), 0.2, 0.99)
    return PastReviews(
        card=row,
        deck=cards.deck[row],
        rating=rating,
        state=np.where(gap < 0, 0, 2).astype(np.int8),
        elapsed_days=gap.astype(np.int32),
        elapsed_s=np.where(gap < 0, -1, gap * 86_400 + 3600),
        duration_ms=np.exp(rng.normal(8.7, 0.5, count)).astype(np.int64),
        day=day,
        hour=hour,
        p={name: np.where(gap < 1, np.nan, chance) for name in ("RWKV-P", "RWKV", "FSRS-6")},
        has_dates=True,
    )


def _workload(rng: np.random.Generator) -> Workload:
    retention = np.array([0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95])
    daily = 60 * (1 - 0.7) / (1 - retention)
    reviews = daily[:, None] * rng.uniform(0.7, 1.3, (len(retention), 30))
    reviews[:, 0] *= 2.5
    return Workload(retention, reviews, reviews * (0.25 - 0.1 * retention[:, None]), 100, 800)


def _comparison() -> list[ComparisonRow]:
    metrics = {
        "RWKV-P": (0.279, 0.031, 0.831),
        "RWKV": (0.292, 0.039, 0.802),
        "FSRS-6": (0.346, 0.065, 0.703),
        "FSRS-6-default": (0.357, 0.079, 0.689),
        "AVG": (0.383, 0.104, 0.5),
    }
    names = ("LogLoss", "RMSE(bins)", "AUC")
    return [
        ComparisonRow(
            name, 10, 3855, {metric: Estimate(value, 0.01) for metric, value in zip(names, values, strict=True)}
        )
        for name, values in metrics.items()
    ]


def _run(rng: np.random.Generator) -> TrainingRun:
    steps = np.arange(1, 1201)
    loss = 0.62 + 0.8 * np.exp(-steps / 120) + rng.normal(0, 0.03, len(steps))
    checks = np.array([50, 500, 1000, 1200])
    return TrainingRun(
        "demo_WS",
        {
            "loss": (steps, loss),
            "ahead": (steps, loss * 0.45),
            "imm": (steps, loss * 0.55),
            "learning_rate": (steps, 1e-3 * np.minimum(1, steps / 200)),
            "gradient_norm": (steps, np.exp(rng.normal(0, 0.4, len(steps)))),
            "validation_ahead_equalize": (checks, 0.3 + 5 / checks),
            "validation_imm_binary_equalize": (checks, 0.29 + 5 / checks),
        },
    )
