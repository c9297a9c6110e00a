"""Scores on a person's own past: those of `compare` and of the report, for new, restored and unknown predictions."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from rwkv import cli
from rwkv.collection.card_predictions import predict_learner
from rwkv.collection.chosen_model import SHIPPED_NOTICE, ChosenModel
from rwkv.collection.compare_users import compare_users
from rwkv.collection.engine_cache import fed_engine
from rwkv.collection.learner import read_learner
from rwkv.collection.own_past import FEWEST_COUNTED, OwnPast, own_past, past_of, past_sentence
from rwkv.errors import InputError
from rwkv.model.checkpoint import weights_of
from rwkv.recurrent.engine import Engine
from rwkv.report.past_predictions import feed_history, predict_past
from tests.collection.people import MODEL
from tests.collection.student import make_student
from tests.networks import SMALL, recipe_network

OTHER = ChosenModel(Path("other.pth"), weights_of(recipe_network(SMALL, 0.3)), notice=None)
NAMES = ["RWKV-P", "RWKV", "AVG", "MOVING-AVG", "FSRS-6-default"]
# A change of all probabilities by 2e-5 (spec 7), of which none here is below .01, and rounding to six places.
TOLERANCE = 2e-3
AGAIN = "reading the whole history again: the saved predictions"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_student(tmp_path / "student")


def past(root: Path, model: ChosenModel = MODEL, states_bytes: int | None = None) -> OwnPast | None:
    """As `predict` has it."""
    learner = read_learner(root, 1)
    engine, predictions = fed_engine(learner, model, states_bytes)
    engine.close()
    return own_past(learner.history, predictions)


def kept(root: Path) -> Path:
    return root / "collection" / "user_id=1" / "predictions.rwkv"


def fed(root: Path, model: ChosenModel = MODEL) -> OwnPast | None:
    """The same, read anew."""
    engine, predictions = feed_history(read_learner(root, 1), model.runner)
    engine.close()
    return own_past(read_learner(root, 1).history, predictions)


# --- The figures


def test_figures_match_compare(root: Path) -> None:
    (compared,) = compare_users(root, [1], MODEL.runner).users
    ours = past(root)
    assert ours is not None
    assert list(ours.log_loss) == NAMES
    assert ours.reviews == len(compared) > FEWEST_COUNTED
    for name, loss in ours.log_loss.items():
        tolerance = TOLERANCE if name in ("RWKV", "RWKV-P") else 0
        assert loss == pytest.approx(compared.scores()[name].metrics["LogLoss"], abs=tolerance)


def test_figures_match_the_report(root: Path) -> None:
    """There FSRS-6 with parameters learnt from the person is beside them."""
    learner = read_learner(root, 1)
    engine, predictions = feed_history(learner, MODEL.runner)
    engine.close()
    of_report = past_of(predict_past(learner, predictions).counted)
    ours = past(root)
    assert ours is not None
    assert of_report.log_loss.keys() - ours.log_loss.keys() == {"FSRS-6"}
    assert ours.log_loss.items() <= of_report.log_loss.items()


def test_a_plain_dataset_has_the_figures_too(root: Path) -> None:
    for path in (root / "collection").rglob("*.*"):
        path.unlink()
    assert past(root) == past(root) == fed(root)
    assert not kept(root).exists()


# --- Kept beside the states


def test_restored_predictions_equal_new_ones(root: Path) -> None:
    first = past(root)
    assert kept(root).is_file()
    assert past(root) == first == fed(root)


def test_reviews_after_the_saved_states_count(tmp_path: Path) -> None:
    """Those of before are known from the file; parts of other sizes sum in another order."""
    early = past(make_student(tmp_path / "grown", reviews=150))
    grown, whole = past(make_student(tmp_path / "grown")), past(make_student(tmp_path / "whole"))
    assert early is not None
    assert grown is not None
    assert whole is not None
    assert early.reviews < grown.reviews == whole.reviews
    assert grown.log_loss == pytest.approx(whole.log_loss, abs=TOLERANCE)
    assert past(tmp_path / "grown") == grown


def test_figures_of_other_weights_are_not_shown(root: Path) -> None:
    ours, theirs = past(root), past(root, OTHER)
    assert ours is not None
    assert theirs is not None
    assert theirs.log_loss["RWKV"] != ours.log_loss["RWKV"]
    assert theirs == fed(root, OTHER)
    # Also where only one of the two files is of other weights.
    of_others = kept(root).read_bytes()
    past(root)
    kept(root).write_bytes(of_others)
    assert past(root) == ours


def test_figures_of_another_history_are_not_shown(root: Path) -> None:
    past(root)
    of_all = kept(root).read_bytes()
    ours = past(make_student(root, reviews=150))
    kept(root).write_bytes(of_all)
    assert past(root) == ours == fed(root)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed", "longer", "text"])
def test_damaged_predictions_are_computed_again_once(root: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """As states of older versions, which have nothing beside them, and where a kill came between the two files."""
    caplog.set_level("INFO", "rwkv")
    first = past(root)
    data = kept(root).read_bytes()
    middle = len(data) // 2
    changed = bytes([data[middle] ^ 1])
    parts = {
        "empty": b"",
        "cut": data[:-5],
        "changed": data[:middle] + changed + data[middle + 1 :],
        "longer": data + b"0",
        "text": b"{}",
    }
    if damage == "missing":
        kept(root).unlink()
    else:
        kept(root).write_bytes(parts[damage])
    assert AGAIN not in caplog.text
    assert past(root) == first == fed(root)
    assert kept(root).read_bytes() == data
    assert past(root) == first
    assert caplog.text.count(AGAIN) == 1


@pytest.mark.parametrize("limit", [0, 100])
def test_without_saved_states_the_history_is_not_read_again(
    root: Path, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rwkv")
    first = past(root)
    kept(root).unlink()
    assert past(root, states_bytes=limit) is None
    assert AGAIN not in caplog.text
    # They are known again with the next run, which has no states.
    assert past(root) == past(root) == first


def test_states_newer_than_the_predictions_read_the_history_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """New states with old predictions; reviews come after them, and a limit by default is no hindrance."""
    caplog.set_level("INFO", "rwkv")
    root = make_student(tmp_path / "grown", reviews=150)
    past(root)
    old = kept(root).read_bytes()
    past(make_student(root, reviews=200))
    kept(root).write_bytes(old)
    grown = past(make_student(root))
    assert caplog.text.count(AGAIN) == 1
    assert grown == past(root) == fed(root)
    assert caplog.text.count(AGAIN) == 1


def test_an_engine_whose_feeding_fails_is_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    close = Engine.close

    def closing(engine: Engine) -> None:
        closed.append(engine)
        close(engine)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "close", closing)
    monkeypatch.setattr(Engine, "feeding", stop)
    with pytest.raises(KeyboardInterrupt):
        past(root)
    assert len(closed) == 1
    with pytest.raises(KeyboardInterrupt):
        fed(root)
    assert len(closed) == 2


def test_saved_values_out_of_range_are_ignored(root: Path) -> None:
    """Not even where all checksums are right."""
    past(root)
    data = kept(root).read_bytes()[:-32]
    crafted = data[:-4] + np.float32(1.5).tobytes()
    kept(root).write_bytes(crafted + hashlib.sha256(crafted).digest())
    assert past(root) == fed(root)
    assert kept(root).read_bytes() == data + hashlib.sha256(data).digest()


def test_predictions_are_not_saved_without_states(root: Path) -> None:
    past(root)
    past(root, states_bytes=0)
    assert not kept(root).exists()


def test_figures_are_computed_even_if_predictions_cannot_be_saved(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("The disk is full.")

    monkeypatch.setattr("rwkv.collection.engine_cache.write_predictions", refuse)
    assert past(root) == fed(root)
    assert "the predictions of past reviews are not saved" in caplog.text
    monkeypatch.setattr("rwkv.collection.engine_cache.read_predictions", refuse)
    assert past(root) == fed(root)
    assert "the predictions of past reviews are unknown" in caplog.text


# --- What is said


def test_the_sentence_about_ones_own_past() -> None:
    losses = {"RWKV": 0.2536, "AVG": 1.0, "FSRS-6-default": 0.2774, "MOVING-AVG": 0.2, "RWKV-P": 0.24249}
    assert past_sentence(OwnPast(3285, losses)) == (
        "On your 3,285 counted reviews: log loss RWKV-P .242, RWKV .254, FSRS-6 (default parameters) .277, "
        "your average 1.000"
    )
    assert "FSRS-6 (optimised on yours) .100, FSRS-6 (default" in past_sentence(
        OwnPast(99, losses | {"FSRS-6": 0.1}),
    )
    assert "`rwkv compare`" in past_sentence(None)


@pytest.mark.parametrize("reviews", [0, 1, FEWEST_COUNTED - 1, FEWEST_COUNTED])
def test_few_reviews_have_no_figures(root: Path, reviews: int) -> None:
    (compared,) = compare_users(root, [1], MODEL.runner).users
    few = replace(
        compared,
        review_th=compared.review_th[:reviews],
        p={name: p[:reviews] for name, p in compared.p.items()},
        y=compared.y[:reviews],
        bins=compared.bins[:reviews],
    )
    ours = past_of(few)
    assert ours.reviews == reviews
    assert bool(ours.log_loss) == (reviews >= FEWEST_COUNTED)
    is_refused = past_sentence(ours).startswith(f"The benchmark counts {reviews} of your reviews, too few")
    assert is_refused == (reviews < FEWEST_COUNTED)


def test_predict_and_schedule_show_the_scores(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the package's weights, in the heading and in JSON; `predict` feeds, `schedule` restores, and both say one."""
    assert cli.main(["predict", str(root), "--json", "--quiet"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert list(predicted["past"]["log_loss"]) == NAMES
    assert predicted["notice"] == f"{SHIPPED_NOTICE}. {past_sentence(OwnPast(**predicted['past']))}"
    assert cli.main(["schedule", str(root), "--days", "1", "--quiet"]) == 0
    assert f"NOTICE: {predicted['notice']}\n" in capsys.readouterr().out
    kept(root).unlink()
    assert cli.main(["predict", str(root), "--out", str(root / "cards.csv"), "--states", "0", "--json", "--quiet"]) == 0
    unknown = json.loads(capsys.readouterr().out)
    assert (unknown["past"], unknown["notice"]) == (None, f"{SHIPPED_NOTICE}. {past_sentence(None)}")


def test_predict_learner_returns_the_predictions_of_past_reviews(root: Path) -> None:
    learner = read_learner(root, 1)
    _, predictions = predict_learner(learner, MODEL, learner.end_s)
    assert predictions is not None
    assert len(predictions.p_imm) == len(learner.history)
    assert np.isfinite(predictions.p_imm).sum() > FEWEST_COUNTED
    ours, expected = own_past(learner.history, predictions), fed(root)
    assert ours is not None
    assert expected is not None
    assert asdict(ours) == asdict(expected)
