"""`rwkv finetune` from a folder of histories to a file of weights, and its refusals."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv import cli
from rwkv.collection import finetune as command
from rwkv.collection.chosen_model import choose_model
from rwkv.collection.finetune import finetune, finetuned_fields, format_finetuned
from rwkv.data.history import RevlogTable
from rwkv.data.revlogs import read_history
from rwkv.errors import BusyError, CheckpointError, InputError
from rwkv.locks import only_writer_of
from rwkv.model.card import read_card
from rwkv.model.checkpoint import read_weights, write_weights
from rwkv.model.network import Network
from rwkv.model.spec import PUBLISHED
from rwkv.recurrent.engine import Engine
from rwkv.training import adaptation as training
from rwkv.training.adaptation import Adapted, cuts_of, judged_reviews
from tests.collection.student import make_student
from tests.helpers import random_revlog, revlog_columns, write_history
from tests.networks import recipe_network
from tests.typed import not_none

USERS = (1, 2)
SHORT_USER, BAD_USER = 3, 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, one with too few reviews, one whose history cannot be read, and weights that know nothing."""
    root = tmp_path_factory.mktemp("finetune")
    for user in USERS:
        write_history(root / "people", user, random_revlog(user, 220, cards=25, same_day=0.1))
    write_history(root / "people", SHORT_USER, revlog_columns([1, 2, 1], [0, 10, 90_000]))
    write_history(root / "bad", BAD_USER, random_revlog(4, 220, cards=25))
    write_history(root / "bad", 1, random_revlog(1, 220, cards=25))
    (root / "bad" / "revlogs" / f"user_id={BAD_USER}" / "data.parquet").write_bytes(b"no parquet")
    write_weights(root / "model.pth", recipe_network(PUBLISHED).state_dict())
    return root


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MOST_ROUNDS", 2)
    monkeypatch.setattr(training, "ROWS", 64)
    monkeypatch.setattr(command, "FEWEST_JUDGED", 100)


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learnt is worse on the part kept aside."""

    def adapt(network: Network, tables: list[RevlogTable], report: training.ReportStage) -> Adapted:
        adapted = training.adapt(network, tables, report)
        return replace(adapted, network=network, better=())

    monkeypatch.setattr(command, "adapt", adapt)


def run(root: Path, out: Path, *arguments: str) -> int:
    return cli.main(
        ["finetune", str(root / "people"), "--model", str(root / "model.pth"), "--out", str(out), *arguments]
    )


def test_better_weights_are_written_with_a_card(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "mine.safetensors"
    result = finetune(root / "people", out, [1, 1, 2], root / "model.pth")
    assert (result.out, result.exit_code, [one.user for one in result.adapted.people]) == (out, 0, [1, 2])
    assert result.adapted.better
    assert all(result.adapted.after[name] < result.adapted.before[name] for name in result.adapted.better)
    written = read_weights(out)
    assert all(torch.equal(written[name], weight) for name, weight in result.adapted.network.state_dict().items())
    card = read_card(out)
    assert card is not None
    assert "model.pth, fingerprint " in card["adapted"]["from"]
    assert card["adapted"]["to"] == "users 1, 2"
    cuts = [cuts_of(read_history(root / "people", user)) for user in USERS]
    kept = sum(cut.kept for cut in cuts if cut is not None)
    assert card["adapted"]["trained on"] == f"the first reviews of each user in people, {kept} of 440"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_the_written_weights_have_the_scores_on_the_part_kept_aside(root: Path, tmp_path: Path) -> None:
    """Predicted by an engine, which reads each history from its start."""
    out = tmp_path / "mine.safetensors"
    adapted = finetune(root / "people", out, USERS, root / "model.pth").adapted
    means = {}
    for path, stated in ((root / "model.pth", "before"), (out, "after")):
        losses = []
        for person in adapted.people:
            table = read_history(root / "people", person.user)
            kept = judged_reviews(table) & (np.arange(len(table)) >= not_none(cuts_of(table)).kept)
            predictions = Engine.load(path, user=person.user).feed(table)
            y, judged = table.rating[kept] > 1, getattr(person, stated)
            own = {"RWKV": predictions.p_ahead[kept], "RWKV-P": predictions.p_imm[kept]}
            losses.append([float(-np.log(np.where(y, p, 1 - p)).mean()) for p in own.values()])
            for (name, _), loss in zip(own.items(), losses[-1], strict=True):
                if path != out or name in adapted.better:
                    # Two ways of computing the same predictions, up to 2e-5 apart (spec 7).
                    assert judged[name] == pytest.approx(loss, abs=1e-3)
        means[stated] = np.mean(losses, axis=0)
    assert (means["after"] <= means["before"] + 1e-6).all()


def test_every_output_names_the_people_of_adapted_weights(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their scores on the reviews they learnt from are too good."""
    out, student = tmp_path / "mine.safetensors", str(make_student(tmp_path / "student"))
    assert run(root, out, "--user", "1", "--quiet") == 0
    notice = choose_model(out).notice
    cut = cuts_of(read_history(root / "people", 1))
    assert notice is not None
    assert cut is not None
    assert (
        f"weights adapted to user 1; scores on the reviews that they were trained on, the first {cut.kept} " in notice
    )
    capsys.readouterr()
    for command_line in (["predict", student], ["schedule", student, "--days", "1"], ["compare", student]):
        for json_option in ([], ["--json"]):
            assert cli.main([*command_line, "--model", str(out), "--quiet", *json_option]) == 0
            assert notice in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert cli.main(["report", student, "--model", str(out), "--out", str(page), "--quiet"]) == 0
    assert f"Predicted by {notice}. " in capsys.readouterr().out


def test_training_is_reproducible(root: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for out in files:
        assert run(root, out, "--user", "1", "--quiet") == 0
    first, second = map(read_weights, files)
    assert all(torch.equal(first[name], weight) for name, weight in second.items())
    assert read_card(files[0]) == read_card(files[1])


@pytest.mark.usefixtures("worse")
def test_worse_weights_are_not_written(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.safetensors"
    out.write_bytes(b"of an earlier run")
    assert run(root, out, "--user", "1") == 1
    assert out.read_bytes() == b"of an earlier run"
    output = capsys.readouterr().out
    assert "No weights were written" in output
    assert str(root / "model.pth") in output


def test_users_for_whom_adapted_weights_are_worse_are_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean decides whether weights are written."""

    def adapt(network: Network, tables: list[RevlogTable], report: training.ReportStage) -> Adapted:
        losses = {1: (0.5, 0.4), 2: (0.2, 0.25)}
        people = [
            training.Judged(user, 9, {"RWKV": before, "RWKV-P": 0.3}, {"RWKV": after, "RWKV-P": 0.4})
            for user, (before, after) in losses.items()
        ]
        return Adapted(network, {"RWKV": 5, "RWKV-P": 5}, tuple(people), ("RWKV",))

    monkeypatch.setattr(command, "adapt", adapt)
    result = finetune(root / "people", tmp_path / "mine.safetensors", USERS, root / "model.pth")
    assert finetuned_fields(result)["worse"] == [2]
    assert format_finetuned(result).endswith(f"worse for user 2: keep using {root / 'model.pth'} there")


def test_training_without_improvement_writes_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MOST_ROUNDS", 0)
    out = tmp_path / "mine.safetensors"
    result = finetune(root / "people", out, [1], root / "model.pth")
    assert "training brought no improvement" in format_finetuned(result)
    assert not out.exists()


def test_all_users_with_enough_reviews_are_used(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, tmp_path / "mine.safetensors", "--json") == 0
    output = capsys.readouterr()
    read = json.loads(output.out)
    assert [one["user"] for one in read["people"]] == list(USERS)
    assert list(read["without"]) == [str(SHORT_USER)]
    assert read["after"]["RWKV"] == pytest.approx(np.mean([one["after"]["RWKV"] for one in read["people"]]))
    assert f"user {SHORT_USER} is left out: 1 of 3 reviews" in output.err


def test_a_bad_history_is_reported_and_the_others_are_used(root: Path, tmp_path: Path) -> None:
    result = finetune(root / "bad", tmp_path / "mine.safetensors", None, root / "model.pth")
    assert result.out is not None
    assert list(result.failures.errors) == [BAD_USER]
    assert result.exit_code == 1


def test_a_failed_run_writes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "adapt", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(root / "people", tmp_path / "new" / "mine.safetensors", [1], root / "model.pth")
    assert list(tmp_path.iterdir()) == []


# --- What is refused before any work


def test_outputs_other_than_safetensors_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ending in \.safetensors"):
        finetune(root / "people", tmp_path / "mine.pth", None, root / "model.pth")


def test_a_folder_as_output_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").mkdir()
    with pytest.raises(InputError, match="a folder"):
        finetune(root / "people", tmp_path / "mine.safetensors", None, root / "model.pth")


def test_the_initial_weights_are_not_overwritten(root: Path, tmp_path: Path) -> None:
    model = tmp_path / "mine.safetensors"
    write_weights(model, recipe_network(PUBLISHED).state_dict())
    with pytest.raises(InputError, match="would be overwritten"):
        finetune(root / "people", model, None, model)


def test_a_person_with_too_few_reviews_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not enough reviews") as caught:
        finetune(root / "people", tmp_path / "mine.safetensors", [SHORT_USER], root / "model.pth")
    assert "100, and 60 of each person" in str(caught.value)
    assert f"where: {root / 'people'}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_people_with_too_few_reviews_together_are_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "FEWEST_JUDGED", 500)
    with pytest.raises(InputError, match="not enough reviews") as caught:
        finetune(root / "people", tmp_path / "mine.safetensors", USERS, root / "model.pth")
    assert " of 2 people" in str(caught.value)


def test_an_unknown_user_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The user is not in the folder"):
        finetune(root / "people", tmp_path / "mine.safetensors", [99], root / "model.pth")


def test_a_folder_without_reviews_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder has no reviews"):
        finetune(root, tmp_path / "mine.safetensors", None, root / "model.pth")
    with pytest.raises(InputError, match="path does not exist") as caught:
        finetune(root / "nowhere", tmp_path / "mine.safetensors", None, root / "model.pth")
    assert "check the path" in str(caught.value)


def test_missing_weights_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        finetune(root / "people", tmp_path / "mine.safetensors", [1], root / "other.pth")


def test_one_writer_at_a_time(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    with only_writer_of(out, "another"), pytest.raises(BusyError):
        finetune(root / "people", out, [1], root / "model.pth")
