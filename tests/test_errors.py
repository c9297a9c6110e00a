"""Errors about input name the place and the next step."""

import ast
from pathlib import Path

import pytest

import rwkv
from rwkv import errors
from rwkv.cli import main
from rwkv.errors import HistoryError, InputError, RwkvError

ROOT = Path(rwkv.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
KINDS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RwkvError)
}
# Their HistoryErrors get the next step from rwkv/data/next_step.py.
READERS = {ROOT / "data" / f"{name}.py" for name in ("arrow", "collection", "column_file", "revlogs", "tables")}


def incomplete(source: str, is_reader: bool = False) -> list[int]:
    """The lines on which an error without a hint is made, or one about bad input without `where`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = [(call, KINDS[name]) for call in calls if (name := ast.unparse(call.func)) in KINDS]
    return [call.lineno for call, kind in made if not _needed(kind, is_reader) <= {part.arg for part in call.keywords}]


def _needed(kind: type[RwkvError], is_reader: bool) -> set[str]:
    where = {"where"} if issubclass(kind, InputError) else set()
    return where if is_reader and kind is HistoryError else where | {"hint"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_error_has_a_place_and_a_hint(path: Path) -> None:
    assert incomplete(path.read_text(), path in READERS) == []


def test_incomplete_errors_are_detected() -> None:
    assert incomplete('raise InputError("x", where="y", got="z")\nraise InputError("x", where="y", hint="z")') == [1]
    assert incomplete('raise StoreError("x", hint="y")\nraise RwkvError("x", hint="y")\nNonFiniteError("x")') == [1, 3]
    assert incomplete('HistoryError("x", where="y")', is_reader=True) == []


def test_the_options_that_a_dataset_does_not_have_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tmp_path), "--timezone", "UTC", "--rollover", "3"]) == 2
    assert "not for datasets: --timezone, --rollover.\n" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5", ""])
@pytest.mark.parametrize("command", [["check", "x"], ["simulate", "--out", "x"]], ids=lambda command: command[0])
def test_processes_are_counted_from_one(command: list[str], count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, f"--processes={count}"])
    assert caught.value.code == 2
    assert f"argument --processes: expected a whole number, 1 or more, got {count!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "where", "hint"),
    [
        (["predict", "SOURCE", "--timezone", "Mars"], "--timezone", "or omit it"),
        (["predict", "SOURCE", "--rollover", "24"], "--rollover", "or omit it"),
        (["predict", "SOURCE", "--retention", "90"], "--retention", "write 90% as 0.9"),
        (["schedule", "SOURCE", "--retention", "82.5"], "--retention", "write 82.5% as 0.825"),
        (["predict", "SOURCE", "--retention", "99.99999"], "--retention", "write 99.99999% as 0.9999999"),
        (["predict", "SOURCE", "--retention", "1"], "--retention", "choose a value such as 0.9"),
        (["predict", "SOURCE", "--retention", "nan"], "--retention", "choose a value such as 0.9"),
        (["predict", "SOURCE", "--least-days", "-1"], "--least-days", "use 1 as in Anki"),
        (["predict", "SOURCE", "--cards", "is:old"], "--cards", "see the syntax"),
        (["predict", "SOURCE", "--format", "parquet"], "--format", "use --out FILE.parquet"),
        (["predict", "SOURCE", "--out", "cards.doc"], "--out", "use --format"),
        (["predict", "SOURCE", "--at", "soon"], "--at", "write the moment in one of these ways"),
        (["schedule", "SOURCE", "--out", "days.doc"], "--out", "use one of these endings"),
        (["schedule", "SOURCE", "--days", "0"], "--days", "choose another number"),
        (["report", "SOURCE", "--out", "page.pdf"], "--out", "a browser can print it"),
        (["report"], "COLLECTION", "choose a collection or a folder"),
        (["report", "--training", "no.log"], "no.log", "check the path"),
        (["completion", "smoke"], "SHELL", "name one of these"),
        (["simulate", "--out", "x", "--users", "1", "--reviews", "9", "--rwkv", "a.jsonl"], "--rwkv", "add --check"),
        (
            ["simulate", "--out", "x", "--users", "1", "--reviews", "9", "--first-user", "0"],
            "--first-user",
            "this range",
        ),
        (["predict", "FOLDER", "--timezone", "UTC", "--rollover", "3"], "FOLDER", "omit them"),
        (["info", "--model", "FOLDER"], "FOLDER", "check the path"),
        (["predict", "BAD"], "reviews.csv, line 3, column review_duration", "correct the cell"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str],
    where: str,
    hint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("FOLDER").mkdir()
    header, row = "card_id,review_time,review_rating,review_duration", "7,1700000000000,3,5000"
    for name, duration in (("SOURCE", "5"), ("BAD", "long")):
        path = tmp_path / name / "reviews.csv"
        path.parent.mkdir()
        path.write_text(f"{header}\n{row}\n8,1700000001000,3,{duration}\n")
        arguments = [str(path) if argument == name else argument for argument in arguments]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.split("error: ")[-1].splitlines()
    assert any(line.startswith("  where: ") and line.endswith(where) for line in lines)
    assert any(line.startswith("  next: ") and hint in line for line in lines)
