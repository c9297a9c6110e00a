"""run_as_rnn over a small history: its output, and its errors."""

import ast
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv.benchmark.find_keys import find_keys
from rwkv.config import FindKeysConfig
from rwkv.data.database import Database
from rwkv.data.history import order_by_card
from rwkv.data.key_store import KeyStore
from rwkv.data.revlogs import read_history
from rwkv.evaluation.metrics import recall_metrics
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from rwkv.run_as_rnn import main
from tests.helpers import DECKS, USER, IntColumns, cards_of, random_revlog, revlog_columns, write_history
from tests.networks import recipe_network
from tests.recurrent.parallel import TOLERANCE, parallel_predictions

NETWORK = recipe_network(PUBLISHED)

# A user whose keys were looked for, without any; and one with a key on a card whose beginning is missing.
NO_KEYS_USER, LOST_USER = 8, 9
REVIEWS = 120

LINE = re.compile(r"review, (\d+), ahead: ([01]\.\d{3}), immediate: ([01]\.\d{3}), truth: ([01])")
# Three decimals, of numbers of the other form.
PRINTED = 0.0005 + TOLERANCE

Run = Callable[..., "Printed"]


@dataclass(frozen=True)
class Printed:
    """What a run left: its exit code and the lines of its two outputs."""

    code: int
    out: list[str]
    err: str


def lost_beginning() -> IntColumns:
    """A history whose 60th review is the first of a card, yet has an interval."""
    columns = random_revlog(22, reviews=90, cards=10)
    columns["card_id"][60] = 77
    columns["elapsed_days"][60], columns["elapsed_seconds"][60], columns["state"][60] = 3, 260_000, 2
    return columns


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, its keys with SHORT and SECS, and weights."""
    root = tmp_path_factory.mktemp("single_user")
    revlog = random_revlog(21, REVIEWS, cards=15)
    write_history(root / "data", USER, revlog, cards_of(revlog), DECKS)
    write_history(root / "data", NO_KEYS_USER, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    write_history(root / "data", LOST_USER, lost_beginning())
    keys = FindKeysConfig(
        data_path=root / "data",
        label_filter_lmdb_path=root / "keys",
        label_filter_lmdb_size=10_000_000,
        user_ids=(USER, NO_KEYS_USER, LOST_USER),
        short=True,
        secs=True,
    )
    assert find_keys(keys) == 0
    write_weights(root / "model.pth", NETWORK.state_dict())
    return root


@pytest.fixture
def run(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; keys of the configuration may be given."""

    def run_with(**changed: object) -> Printed:
        keys = {
            "USER": USER,
            "DATA_PATH": str(workspace / "data"),
            "MODEL_PATH": str(workspace / "model.pth"),
            "DEVICE": "cpu",
            "DTYPE": "float",
            "THREADS": 1,
            "LABEL_FILTER_LMDB_PATH": str(workspace / "keys"),
            "LABEL_FILTER_LMDB_SIZE": 10_000_000,
        } | changed
        given = {key: v for key, v in keys.items() if v is not None}
        text = "\n".join(f"{key} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for key, v in given.items())
        (tmp_path / "config.toml").write_text(text)
        capsys.readouterr()
        code = main(["--config", str(tmp_path / "config.toml")])
        printed = capsys.readouterr()
        return Printed(code, printed.out.splitlines(), printed.err)

    return run_with


def metrics_of(lines: list[str]) -> dict[str, dict[str, float]]:
    """The metrics in the closing four lines: a name and a line as in a result file, twice."""
    assert [lines[0], lines[2]] == ["RWKV-P:", "RWKV:"]
    assert len(lines) == 4
    results = {"RWKV-P": ast.literal_eval(lines[1]), "RWKV": ast.literal_eval(lines[3])}
    assert all(list(result) == ["metrics", "user", "size"] for result in results.values())
    return {name: result["metrics"] for name, result in results.items()}


def assert_metrics(lines: list[str], workspace: Path, user: int, left_out: int) -> None:
    """The printed metrics are those of the parallel form over the keys with both predictions."""
    table = read_history(workspace / "data", user)
    predictions = parallel_predictions(NETWORK, table)
    with Database(workspace / "keys", 10_000_000, "", readonly=True) as database:
        keys = KeyStore(database, "").read(user)
    review = np.searchsorted(table.review_th, keys.review_ths)
    kept = order_by_card(table.card).previous[review] >= 0
    assert np.count_nonzero(~kept) == left_out
    review, bins = review[kept], keys.rmse_bins[kept]
    assert len(review) > 20
    for name, p in (("RWKV-P", predictions.p_imm), ("RWKV", predictions.p_ahead)):
        printed = metrics_of(lines)[name]
        expected = recall_metrics(p[review], table.rating[review] > 1, bins)
        assert list(printed) == list(expected)
        for metric, value in expected.items():
            # Two nearly equal predictions may change places, which moves AUC by one pair of many.
            assert printed[metric] == pytest.approx(value, abs=5e-3 if metric == "AUC" else 1e-4), (name, metric)


def test_each_review_of_a_card_seen_before_is_printed(
    run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    printed = run(VERBOSE=True)
    assert printed.code == 0
    table = read_history(workspace / "data", USER)
    expected = parallel_predictions(NETWORK, table)
    seen = np.flatnonzero(order_by_card(table.card).previous >= 0)
    matches = [LINE.fullmatch(line) for line in printed.out[:-4]]
    assert [int(match[1]) for match in matches if match] == seen.tolist()
    assert None not in matches
    for match in filter(None, matches):
        i = int(match[1])
        assert float(match[2]) == pytest.approx(expected.p_ahead[i], abs=PRINTED)
        assert float(match[3]) == pytest.approx(expected.p_imm[i], abs=PRINTED)
        assert int(match[4]) == (table.rating[i] > 1)
    assert_metrics(printed.out[-4:], workspace, USER, left_out=0)
    assert f"{REVIEWS}/{REVIEWS}" in printed.err
    assert "review/s" in printed.err


def test_without_verbose_only_metrics_are_printed(run: Run) -> None:
    printed = run()
    assert printed.code == 0
    assert set(metrics_of(printed.out)) == {"RWKV-P", "RWKV"}


def test_little_memory_gives_the_same(run: Run) -> None:
    assert run(MEMORY=100_000, VERBOSE=True).out == run(VERBOSE=True).out


def test_memory_may_be_given_as_a_flag(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = run(MEMORY=1).out
    config = ["--config", str(tmp_path / "config.toml")]
    assert main([*config, "--memory", "100000"]) == 0
    assert capsys.readouterr().out.splitlines() == expected
    assert main([*config, "--memory", "0"]) == 2
    assert "MEMORY = 0: expected a size in bytes" in capsys.readouterr().err


def test_bfloat16_on_a_cpu_is_computed_in_float32(run: Run) -> None:
    rough, precise = run(DTYPE="bfloat16"), run()
    assert "computes in float32" in rough.err
    assert rough.out == precise.out


def test_a_key_without_an_earlier_review_is_left_out_and_counted(run: Run, workspace: Path) -> None:
    printed = run(USER=LOST_USER, VERBOSE=True)
    assert printed.code == 0
    assert re.search(r"1 of \d+ keys left out", printed.err)
    assert not any(line.startswith("review, 60,") for line in printed.out)
    assert_metrics(printed.out[-4:], workspace, LOST_USER, left_out=1)


def test_a_user_without_keys_gets_a_message(run: Run) -> None:
    printed = run(USER=NO_KEYS_USER)
    assert printed.code == 0
    assert printed.out == [f"User {NO_KEYS_USER} has no reviews that the benchmark counts, so there are no metrics."]
    assert "Traceback" not in printed.err


def test_dropped_reviews_are_reported(run: Run, workspace: Path, tmp_path: Path) -> None:
    columns = random_revlog(21, REVIEWS, cards=15)
    columns["rating"][5] = 0
    write_history(tmp_path / "data", USER, columns)
    printed = run(DATA_PATH=str(tmp_path / "data"))
    assert printed.code == 0
    assert "1 review with a rating outside 1..4 dropped" in printed.err


def assert_refused(printed: Printed, *words: str) -> None:
    assert printed.code == 2
    assert printed.out == []
    assert printed.err.startswith("error: ")
    assert "Traceback" not in printed.err
    for word in words:
        assert word in printed.err


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"USER": 5}, ("USER = 5", "between 7 and 9")),
        ({"DATA_PATH": "nowhere"}, ("no dataset", "nowhere")),
        ({"MODEL_PATH": "absent.pth"}, ("absent.pth", "rwkv.train_rwkv")),
        ({"LABEL_FILTER_LMDB_PATH": "absent_db"}, ("absent_db", "rwkv.find_equalize_test_reviews")),
        ({"LABEL_FILTER_KEY_PREFIX": "other_"}, ("'other_'", "rwkv.find_equalize_test_reviews")),
        ({"DTYPE": "float16"}, ("DTYPE",)),
        ({"USERS": 3}, ("USERS: unknown key; the nearest key is USER",)),
    ],
)
def test_bad_input_is_refused(run: Run, changed: dict[str, object], words: tuple[str, ...]) -> None:
    assert_refused(run(**changed), *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_refused(run: Run) -> None:
    assert_refused(run(DEVICE="cuda"), "cuda", "cpu")


def test_predictions_that_are_not_finite_are_refused(run: Run, tmp_path: Path) -> None:
    weights = NETWORK.state_dict() | {"p_linear.bias": torch.full((4,), torch.nan)}
    write_weights(tmp_path / "broken.pth", weights)
    printed = run(MODEL_PATH=str(tmp_path / "broken.pth"))
    assert printed.code == 2
    assert "not finite" in printed.err
    assert "broken.pth" in printed.err
    assert "Traceback" not in printed.err


def test_a_missing_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "absent.toml"]) == 2
    assert "absent.toml" in capsys.readouterr().err
