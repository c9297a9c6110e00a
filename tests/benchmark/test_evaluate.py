"""`python -m rwkv.get_result` from configuration to result files, and its errors."""

import ast
import io
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import rwkv.run_as_rnn
from rwkv.batches.collate import collate
from rwkv.data.history import RevlogTable, order_by_card
from rwkv.data.revlogs import read_history
from rwkv.data.segments import whole_history
from rwkv.evaluation.metrics import recall_metrics
from rwkv.model.checkpoint import write_weights
from rwkv.model.inputs import draw_sequence
from rwkv.model.spec import PUBLISHED
from rwkv.recurrent.engine import Engine
from rwkv.recurrent.features import reviews_of
from tests.benchmark.evaluation import (
    AHEAD,
    IMM,
    LOST_USER,
    NO_KEYS_USER,
    PART_LACKS,
    PART_PREFIX,
    USERS,
    Evaluation,
)
from tests.benchmark.workspace import SIZE, Workspace, assert_said
from tests.evaluation.test_history_predictions import rows_by_hand
from tests.networks import recipe_network, runner_for
from tests.recurrent.parallel import TOLERANCE, parallel_predictions, stack

FIND_KEYS = "python -m rwkv.find_equalize_test_reviews"
PROCESS_DATA = "python -m rwkv.data_processing"

NUMBER = r"\d\.\d{1,6}"
LINE = re.compile(
    rf'\{{"metrics": \{{"RMSE": {NUMBER}, "LogLoss": {NUMBER}, "RMSE\(bins\)": {NUMBER}, "AUC": ({NUMBER}|null)\}}, '
    r'"user": \d+, "size": \d+\}'
)


def history(evaluation: Evaluation, user: int) -> RevlogTable:
    return read_history(evaluation.inputs / "dataset", user)


def predicted_keys(evaluation: Evaluation, table: RevlogTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the history of a user's keys whose card has an earlier review, and their bins."""
    keys = Workspace(evaluation.inputs).keys(table.user)
    rows = np.searchsorted(table.review_th, keys.review_ths)
    usable = order_by_card(table.card).previous[rows] >= 0
    return rows[usable], keys.rmse_bins[usable]


# --- What is written


def test_result_files_are_as_the_benchmark_reads_them(evaluation: Evaluation) -> None:
    assert evaluation.run() == 0
    files = evaluation.files()
    assert set(files) == {f"result/{AHEAD}.jsonl", f"result/{IMM}.jsonl"}
    assert not (evaluation.root / "weights_db").exists()
    for name, kind in ((AHEAD, "p_ahead"), (IMM, "p_imm")):
        lines = files[f"result/{name}.jsonl"].decode().splitlines()
        assert all(LINE.fullmatch(line) for line in lines)
        assert list(evaluation.lines("result", name)) == list(USERS)
        for user, line in evaluation.lines("result", name).items():
            table = history(evaluation, user)
            rows, bins = predicted_keys(evaluation, table)
            p = getattr(parallel_predictions(recipe_network(PUBLISHED), table), kind)[rows]
            expected = recall_metrics(p, table.rating[rows] > 1, bins)
            assert line["size"] == len(rows) > 30
            # Rows in a batch of another size: float32 sums in another order, and rounding to six places.
            assert line["metrics"] == pytest.approx(expected, abs=5e-6)


def test_raw_files_hold_every_prediction(evaluation: Evaluation) -> None:
    assert evaluation.run(RAW=True) == 0
    assert len(evaluation.files()) == 4
    ahead, imm = evaluation.lines("raw", AHEAD), evaluation.lines("raw", IMM)
    assert list(ahead) == list(imm) == list(USERS)
    for user in USERS:
        table = history(evaluation, user)
        rows, _ = predicted_keys(evaluation, table)
        expected = parallel_predictions(recipe_network(PUBLISHED), table)
        for line, p in ((ahead[user], expected.p_ahead), (imm[user], expected.p_imm)):
            assert line["size"] == len(rows)
            assert line["review_th"] == table.review_th[rows].tolist()
            assert line["y"] == (table.rating[rows] > 1).astype(float).tolist()
            np.testing.assert_array_equal(np.float32(line["p"]).astype(float), line["p"])
            np.testing.assert_allclose(line["p"], p[rows], rtol=0, atol=1e-6)
        assert imm[user]["label_elapsed_seconds"] == [[seconds] for seconds in table.elapsed_s[rows].tolist()]
        np.testing.assert_allclose(imm[user]["p_all"], expected.p_all[rows], rtol=0, atol=1e-6)


def test_raw_changes_no_metric(evaluation: Evaluation, plain: dict[str, bytes]) -> None:
    assert evaluation.run(RAW=True) == 0
    assert {name: evaluation.files()[name] for name in plain} == plain


def test_curve_weights_belong_to_the_cards_previous_review(evaluation: Evaluation) -> None:
    assert evaluation.run(RAW=True) == 0
    assert set(evaluation.weights()) == {f"{user}_w" for user in USERS}
    network = recipe_network(PUBLISHED)
    for user in (1, LOST_USER):
        weights = torch.load(io.BytesIO(evaluation.weights()[f"{user}_w"]), weights_only=True)
        review_ths = evaluation.lines("raw", AHEAD)[user]["review_th"]
        assert weights.dtype == torch.float32
        assert weights.shape == (len(review_ths), 128)
        torch.testing.assert_close(weights.sum(1), torch.ones(len(review_ths)), rtol=0, atol=1e-5)
        table = history(evaluation, user)
        segment = whole_history(table, np.zeros(len(table), bool))
        batch = collate([segment], [draw_sequence(user)])
        with torch.no_grad():
            outputs = network(batch.inputs(), batch.layouts)
        ahead_rows = [rows[0] for th in review_ths if (rows := rows_by_hand(segment, th)) is not None]
        torch.testing.assert_close(weights, outputs.w_logits[ahead_rows].softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("user", [2, LOST_USER])
def test_run_as_rnn_gives_the_same_metrics(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str], user: int
) -> None:
    """One model, two forms: every prediction within the tolerance (spec 7), the printed metrics to four places."""
    assert evaluation.run(RAW=True) == 0
    table = history(evaluation, user)
    engine = Engine(runner_for(recipe_network(PUBLISHED)), draw_sequence(user))
    recurrent = stack([engine.answer(review) for review in reviews_of(table)])
    for name, p in ((AHEAD, recurrent.p_ahead), (IMM, recurrent.p_imm)):
        line = evaluation.lines("raw", name)[user]
        rows = np.searchsorted(table.review_th, line["review_th"])
        np.testing.assert_allclose(line["p"], p[rows], rtol=0, atol=TOLERANCE)

    single = {"USER": user, "DATA_PATH": str(evaluation.inputs / "dataset")}
    kept = ("MODEL_PATH", "DEVICE", "DTYPE", "THREADS", "LABEL_FILTER_LMDB_PATH", "LABEL_FILTER_LMDB_SIZE")
    text = Path(evaluation.write_config({})).read_text().splitlines()
    config = evaluation.root / "single.toml"
    lines = [line for line in text if line.split(" = ")[0] in kept]
    config.write_text("\n".join([*lines, *(f"{key} = {value!r}" for key, value in single.items())]))
    capsys.readouterr()
    assert rwkv.run_as_rnn.main(["--config", str(config)]) == 0
    printed = capsys.readouterr().out.splitlines()
    for name, printed_line in zip((IMM, AHEAD), printed[1::2], strict=True):
        line, expected = ast.literal_eval(printed_line), evaluation.lines("result", name)[user]
        assert line.pop("metrics") == pytest.approx(expected.pop("metrics"), abs=5e-5)
        assert line == expected


def test_bfloat16_on_a_cpu_is_computed_in_float32(
    evaluation: Evaluation, plain: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluation.run(DTYPE="bfloat16") == 0
    assert_said(capsys, "computes in float32")
    assert evaluation.files() == plain


@pytest.mark.parametrize("processes", [0, 2])
def test_the_number_of_processes_changes_nothing(
    evaluation: Evaluation, plain: dict[str, bytes], processes: int
) -> None:
    assert evaluation.run(NUM_FETCH_PROCESSES=processes) == 0
    assert evaluation.files() == plain


def test_several_devices_write_the_same_files(evaluation: Evaluation) -> None:
    """Each in a process of its own; there are three batches for them."""
    assert evaluation.run(RAW=True) == 0
    files, weights = evaluation.files(), evaluation.weights()
    several = Evaluation(evaluation.inputs, evaluation.root / "several")
    several.root.mkdir()
    assert several.run(RAW=True, DEVICES=["cpu", "cpu"]) == 0
    assert several.files() == files
    assert several.weights() == weights


def test_users_and_keys_left_out_are_reported(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation.run() == 0
    output = f"user {NO_KEYS_USER} has no reviews to predict"
    assert_said(capsys, "5 users, 0 of them done before", output, "1 key left out: no earlier review")
    keys = Workspace(evaluation.inputs).keys(LOST_USER)
    assert evaluation.lines("result", IMM)[LOST_USER]["size"] == len(keys) - 1
    assert NO_KEYS_USER not in evaluation.lines("result", IMM)


def test_progress_counts_rows(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert evaluation.run() == 0
    tables = [history(evaluation, user) for user in (*USERS, NO_KEYS_USER)]
    rows = sum(len(table) + np.count_nonzero(table.elapsed_days != -1) for table in tables)
    assert_said(capsys, f"{rows}/{rows}", "row/s")


def test_users_outside_the_store_are_counted(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation.run(USER_IDS=[2, 1, *range(70, 1270)]) == 0
    assert_said(capsys, "not in the store: 1,200 of 1,202 configured users")
    assert list(evaluation.lines("result", AHEAD)) == [1, 2]


# --- What is wrong with one user


def test_a_user_whose_keys_are_missing_is_skipped(
    evaluation: Evaluation, plain: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluation.run(LABEL_FILTER_KEY_PREFIX=PART_PREFIX) == 1
    assert_said(capsys, f"user {PART_LACKS} skipped: The keys of user {PART_LACKS} are missing", FIND_KEYS)
    assert list(evaluation.lines("result", AHEAD)) == [user for user in USERS if user != PART_LACKS]
    assert evaluation.run() == 0
    assert list(evaluation.lines("result", AHEAD)) == list(USERS)


def test_a_damaged_history_is_skipped(evaluation: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(evaluation.inputs / "store_db", evaluation.root / "store_db")
    Workspace(evaluation.root).put("store_db", {"2_reviews_0": b"nothing"})
    assert evaluation.run(DATASET_LMDB_PATH=str(evaluation.root / "store_db")) == 1
    assert_said(capsys, "user 2 skipped", "damaged", "1 user was skipped:\n  2: ")
    assert list(evaluation.lines("result", AHEAD)) == [1, 3, 5]


def test_predictions_that_are_not_finite_are_not_written(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = recipe_network(PUBLISHED).state_dict() | {"p_linear.bias": torch.full((4,), torch.nan)}
    write_weights(evaluation.root / "broken.pth", weights)
    assert evaluation.run(MODEL_PATH=str(evaluation.root / "broken.pth"), RAW=True) == 1
    assert_said(
        capsys,
        "not finite",
        f"broken.pth, user {USERS[0]}",
        "next: use another model\n",
        f"{len(USERS)} users were skipped",
    )
    assert set(evaluation.files().values()) <= {b""}
    assert evaluation.weights() == {}
    assert evaluation.run(RAW=True) == 0
    assert list(evaluation.lines("raw", IMM)) == list(USERS)


# --- What is wrong with all of it


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"MODEL_PATH": "absent.pth"}, ("absent.pth", "rwkv.train_rwkv")),
        ({"DATASET_LMDB_PATH": "absent_db"}, ("database does not exist", "absent_db", PROCESS_DATA)),
        ({"LABEL_FILTER_LMDB_PATH": "absent_db"}, ("database does not exist", "absent_db", FIND_KEYS)),
        ({"LABEL_FILTER_KEY_PREFIX": "other_"}, ("'other_'", FIND_KEYS)),
        ({"USER_START": 80, "USER_END": 90}, ("None of the configured users", "users 80 to 90", PROCESS_DATA)),
        ({"USER_IDS": [9, 8]}, ("None of the configured users", PROCESS_DATA)),
        ({"FILE_IMM": AHEAD}, ("FILE_IMM",)),
        ({"FILE_AHEAD": None}, ("FILE_AHEAD is missing",)),
        ({"DTYPE": "float16"}, ("DTYPE",)),
        ({"DEVICES": []}, ("DEVICES = []", "a list, not empty")),
        ({"DEVICES": ["cpu", "cuda:0"]}, ("DEVICES", "devices of one kind\n")),
        ({"DEVICES": ["gpu"]}, ("where: DEVICES\n", 'next: choose "cpu"')),
        ({"RAW_DB_PATH": "config.toml/db", "RAW": True}, ("cannot be written", "config.toml/db")),
        pytest.param(
            {"DEVICE": "cuda"},
            ("'cuda' cannot be used", "where: DEVICE\n", 'next: choose "cpu"'),
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_is_written(
    evaluation: Evaluation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, object],
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(evaluation.root)
    capsys.readouterr()
    assert evaluation.run(**changed) == 2
    assert_said(capsys, "error: ", *words)
    assert [path.name for path in evaluation.root.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("damage", [lambda whole: whole[:1000], lambda whole: b"", lambda whole: b"weights" * 99])
def test_a_damaged_model_is_refused(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    path = evaluation.root / "damaged.pth"
    path.write_bytes(damage((evaluation.inputs / "model.pth").read_bytes()))
    assert evaluation.run(MODEL_PATH=str(path)) == 2
    assert_said(capsys, "Cannot read the file of weights", "damaged.pth")
    assert evaluation.files() == {}


def test_a_missing_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert rwkv.get_result.main(["--config", "absent.toml"]) == 2
    assert_said(capsys, "absent.toml")


def test_a_full_database_of_weights_names_its_key_and_loses_nothing(
    evaluation: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluation.run(RAW=True, RAW_DB_SIZE=90_000) == 2
    assert_said(capsys, "full", "RAW_DB_SIZE = 90_000", "raise RAW_DB_SIZE")
    written = list(evaluation.lines("raw", AHEAD))
    assert 0 < len(written) < len(USERS)
    assert {f"{user}_w" for user in written} == set(evaluation.weights())
    assert evaluation.run(RAW=True, RAW_DB_SIZE=SIZE) == 0
    assert list(evaluation.lines("result", IMM)) == list(USERS)
