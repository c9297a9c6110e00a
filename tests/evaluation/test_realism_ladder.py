"""The ladder's lines: quantiles beside published ones, which are near enough, and ratios of means."""

import numpy as np
import pytest

from rwkv.evaluation.realism.figures import PERCENTILES, published, spread_of
from rwkv.evaluation.realism.ladder import Ladder, ladder
from rwkv.evaluation.scores import Score


def scores(**losses: float) -> dict[str, Score]:
    return {name: Score({"LogLoss": loss, "AUC": None}, 10) for name, loss in losses.items()}


def line(of: Ladder, name: str):  # type: ignore[no-untyped-def]
    return next(line for line in of.lines if line.name == name)


def test_people_as_published() -> None:
    """Figures that are stated with the benchmark."""
    people = published()
    for name, mean in (("AVG", 0.3945), ("FSRS-5 default", 0.3823), ("FSRS-5", 0.3558)):
        assert people[f"{name} LogLoss"].mean == mean
    for of in people.values():
        assert of.quantiles is None or (
            len(of.quantiles) == len(PERCENTILES) and sorted(of.quantiles) == [*of.quantiles]
        )


def test_spread_leaves_out_what_is_not_known() -> None:
    found = spread_of(np.array([3.0, np.nan, 1.0, 2.0]))
    assert found.quantiles == pytest.approx((1.1, 1.5, 2, 2.5, 2.9))
    assert found.mean == 2
    with pytest.raises(ValueError, match="nobody"):
        spread_of(np.array([np.nan]))


def test_learners_like_people_are_within_the_goal() -> None:
    quantiles = published()["AVG LogLoss"].quantiles
    assert quantiles is not None
    losses = np.interp(np.linspace(0, 100, 401), PERCENTILES, quantiles)
    found = ladder([{"cards": 5}] * 401, [scores(AVG=loss) for loss in losses])
    near = line(found, "AVG LogLoss")
    assert near.is_goal
    assert near.reached == 5
    far = line(ladder([{"cards": 5}] * 401, [scores(AVG=1.06 * loss) for loss in losses]), "AVG LogLoss")
    assert far.reached == 0
    np.testing.assert_allclose(far.off, 0.06, atol=1e-3)


def test_learners_without_reviews_that_count_are_left_out() -> None:
    found = ladder([{"cards": 5}, {"cards": 900}], [scores(AVG=0.4), {}])
    assert (found.learners, found.without) == (1, 1)
    assert line(found, "cards").simulated.mean == 5
    with pytest.raises(ValueError, match="nothing"):
        ladder([{"cards": 5}], [{}])


def test_ratios_are_of_the_users_who_have_both() -> None:
    """A trained model may have been evaluated on some of the learners."""
    of = [scores(AVG=0.4, RWKV=0.3), scores(AVG=0.2, RWKV=0.2), scores(AVG=0.9)]
    found = ladder([{"cards": 5}] * 3, of)
    (ratio,) = found.ratios
    assert ratio.name == "RWKV"
    assert ratio.is_goal
    assert ratio.simulated == pytest.approx(0.5 / 0.6)
    assert ratio.people == pytest.approx(0.3193 / 0.3945)
    assert ratio.off == pytest.approx(0.5 / 0.6 / (0.3193 / 0.3945) - 1)
    assert line(found, "RWKV LogLoss").off is None
