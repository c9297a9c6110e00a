"""The page's data from a report's contents: facts and compact columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rwkv.arrays import AnyFloats, Ints
from rwkv.evaluation.summary import CONFIDENCE
from rwkv.report.content import CardsNow, ComparisonRow, PastReviews, ReportContent, TrainingRun
from rwkv.report.page.collection_data import (
    RECALL_STEPS,
    cards_data,
    due_cards,
    forecast_facts,
    interval_facts,
    page_order,
    today_facts,
    workload_facts,
)
from rwkv.report.page.facts import Arrays, ComparisonFacts, PageFacts, PastFacts, TrainingFacts
from rwkv.report.page.past_data import day_arrays, deck_facts, history_arrays, lapses, past_facts, shown_in_history
from rwkv.report.page.prediction_data import predicted_data, trust_facts


@dataclass(frozen=True)
class ReportData:
    """The page's data: facts in JSON types, and arrays by name."""

    facts: PageFacts
    arrays: Arrays


def report_data(content: ReportContent) -> ReportData:
    """Compute the page's data. Raises ValueError if columns of the contents have different lengths."""
    facts: PageFacts = {
        "title": content.title,
        "subtitle": content.subtitle,
        "notice": content.notice,
        "facts": [list(pair) for pair in content.facts],
        "retention": content.retention,
        "comparison": comparison_facts(content.comparison),
        "confidence": CONFIDENCE,
        "compared": {name: dict(row) for name, row in content.compared.items()},
        "superiority": {name: dict(row) for name, row in content.superiority.items()},
        "training": [training_facts(run) for run in content.training],
    }
    arrays: Arrays = {}
    if content.reviews is not None:
        facts["trust"] = trust_facts(content.reviews, content.own)
    if content.reviews is not None and len(content.reviews):
        facts["predicted"], of_reviews = predicted_data(
            content.reviews, content.decks_of_reviews, content.people, content.own
        )
        arrays |= of_reviews
    if content.cards is not None and len(content.cards):
        facts["cards"], of_cards = cards_data(content.cards, content.decks, content.due)
        facts["intervals"] = interval_facts(content.cards)
        arrays |= of_cards
    if content.cards is not None and content.due is not None:
        facts["due"] = today_facts(content.due)
        facts["forecast"] = forecast_facts(content.cards, content.due)
    if content.workload is not None:
        facts["workload"] = workload_facts(content.workload)
    if content.past is not None and content.cards is not None:
        facts["past"], of_past = past_data(content, content.past, content.cards)
        arrays |= of_past
    return ReportData(facts, arrays)


def past_data(content: ReportContent, past: PastReviews, cards: CardsNow) -> tuple[PastFacts, Arrays]:
    """Days, months, buttons, hours and decks, and the history and lapses of every card."""
    order = page_order(cards, content.decks, content.due)
    place = np.empty(len(cards), np.int64)
    place[order] = np.arange(len(cards))
    facts: PastFacts = {
        **past_facts(past, content.today, content.retention),
        "decks": deck_facts(past, cards, due_cards(cards, content.due), content.decks, content.today),
        "algorithms": shown_in_history(past),
    }
    arrays = day_arrays(past, content.today) | history_arrays(past, place, RECALL_STEPS)
    return facts, arrays | {"lapses": np.minimum(65_535, lapses(past, len(cards)))[order].astype(np.uint16)}


def comparison_facts(rows: Sequence[ComparisonRow]) -> list[ComparisonFacts]:
    """The rows of the comparison table."""
    return [
        {
            "name": row.name,
            "users": row.users,
            "reviews": row.reviews,
            "metrics": {
                name: {"value": estimate.value, "half_width": estimate.half_width}
                for name, estimate in row.metrics.items()
            },
        }
        for row in rows
    ]


def training_facts(run: TrainingRun, most: int = 2000) -> TrainingFacts:
    """A run's curves, averaged to at most `most` points."""
    return {"name": run.name, "curves": {name: _thinned(*curve, most) for name, curve in run.curves.items()}}


def _thinned(steps: Ints, values: AnyFloats, most: int) -> dict[str, list[float]]:
    starts = np.arange(0, len(steps), max(1, -(-len(steps) // most)))
    sizes = np.diff(starts, append=len(steps))
    step_means, value_means = (np.add.reduceat(column, starts) / sizes for column in (steps, values))
    return {"step": step_means.round(1).tolist(), "value": [float(f"{value:.6g}") for value in value_means.tolist()]}
