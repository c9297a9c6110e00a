"""The ladder's lines: quantiles beside published ones, the goal, and ratios of means."""

import numpy as np
import pytest

from rwkv.evaluation.realism.figures import PERCENTILES, published, spread_of
from rwkv.evaluation.realism.ladder import Ladder, Line, ladder
from rwkv.evaluation.scores import Score
from tests.typed import not_none


def scores(**losses: float) -> dict[str, Score]:
    return {name: Score({"LogLoss": loss, "AUC": None}, 10) for name, loss in losses.items()}


def line(rungs: Ladder, name: str) -> Line:
    return next(line for line in rungs.lines if line.name == name)


def test_people_as_published() -> None:
    """Figures that the benchmark publishes."""
    people = published()
    for name, mean in (("AVG", 0.3945), ("FSRS-5 default", 0.3823), ("FSRS-5", 0.3558)):
        assert people[f"{name} LogLoss"].mean == mean
    for spread in people.values():
        assert spread.quantiles is None or (
            len(spread.quantiles) == len(PERCENTILES) and sorted(spread.quantiles) == [*spread.quantiles]
        )


def test_spread_leaves_out_missing_values() -> None:
    spread = spread_of(np.array([3.0, np.nan, 1.0, 2.0]))
    assert spread.quantiles == pytest.approx((1.1, 1.5, 2, 2.5, 2.9))
    assert spread.mean == 2
    with pytest.raises(ValueError, match="missing"):
        spread_of(np.array([np.nan]))


def test_learners_like_people_are_within_the_goal() -> None:
    quantiles = published()["AVG LogLoss"].quantiles
    assert quantiles is not None
    losses = np.interp(np.linspace(0, 100, 401), PERCENTILES, quantiles)
    rungs = ladder([{"cards": 5}] * 401, [scores(AVG=loss) for loss in losses])
    near = line(rungs, "AVG LogLoss")
    assert near.is_goal
    assert near.reached == 5
    far = line(ladder([{"cards": 5}] * 401, [scores(AVG=1.06 * loss) for loss in losses]), "AVG LogLoss")
    assert far.reached == 0
    np.testing.assert_allclose(not_none(far.off), 0.06, atol=1e-3)


def test_shares_by_level_of_average() -> None:
    """Each learner counts in the level of its own AVG."""
    losses = {0.1: 1.2, 0.12: 1.0, 0.13: 0.9, 0.5: 0.8}
    named = [scores(AVG=average) | scores(**{"FSRS-5": share * average}) for average, share in losses.items()]
    rungs = ladder([{"cards": 5}] * len(named), named)
    means = {
        name: line(rungs, f"FSRS-5 / AVG {name}").simulated.mean
        for name in ("below 0.13", "0.13 to 0.22", "above 0.40")
    }
    assert means == pytest.approx({"below 0.13": 1.1, "0.13 to 0.22": 0.9, "above 0.40": 0.8})
    assert "FSRS-5 / AVG 0.22 to 0.40" not in {line.name for line in rungs.lines}


def test_learners_without_reviews_that_count_are_left_out() -> None:
    rungs = ladder([{"cards": 5}, {"cards": 900}], [scores(AVG=0.4), {}])
    assert (rungs.learners, rungs.without) == (1, 1)
    assert line(rungs, "cards").simulated.mean == 5
    with pytest.raises(ValueError, match="no learner"):
        ladder([{"cards": 5}], [{}])


def test_ratios_are_over_users_with_both_scores() -> None:
    """A trained model may have been evaluated on only some of the learners."""
    learners = [scores(AVG=0.4, RWKV=0.3), scores(AVG=0.2, RWKV=0.2), scores(AVG=0.9)]
    rungs = ladder([{"cards": 5}] * 3, learners)
    (ratio,) = rungs.ratios
    assert ratio.name == "RWKV"
    assert ratio.is_goal
    assert ratio.simulated == pytest.approx(0.5 / 0.6)
    assert ratio.people == pytest.approx(0.3193 / 0.3945)
    assert ratio.off == pytest.approx(0.5 / 0.6 / (0.3193 / 0.3945) - 1)
    assert line(rungs, "RWKV LogLoss").off is None
