"""Names that are not UTF-8, names with control characters, and streams with few letters."""

import argparse
import io
import json
import os
import sys
from pathlib import Path

import pytest

from rwkv.cli import main
from rwkv.command_line.parser import build_parser
from rwkv.data.collection import list_collections, read_collection
from rwkv.data.revlogs import read_history
from rwkv.runtime import log, printable, progress
from tests.data.imports.anki.small import CREATED_S, write_collection_file

REVIEWS = [(CREATED_S * 1000 + 3_600_000, 11, 3, 0)]
COMMANDS = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)).choices

only_bytes = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are UTF-8 there")


def stdout_of(encoding: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """(exit code, what a command writes to a stdout of that encoding)."""
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        try:
            code = main([*arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
    stdout.flush()
    return code, raw.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_on_every_stream(command: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = stdout_of(encoding, monkeypatch, *filter(None, [command, "--help"]))
    assert code == 0
    assert output.startswith("usage: rwkv")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_an_import_on_every_stream(encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = write_collection_file(tmp_path / "漢字 é.anki2", REVIEWS)
    code, output = stdout_of(encoding, monkeypatch, "import", str(file), "--out", str(tmp_path / "out"))
    assert code == 0
    assert "漢字 é".encode(encoding, errors="backslashreplace").decode(encoding) in output
    code, output = stdout_of(encoding, monkeypatch, "import", str(file), "--out", str(tmp_path / "out"), "--json")
    assert json.loads(output)["users"][0]["name"] == "漢字 é"


@only_bytes
@pytest.mark.parametrize("kind", ["anki2", "csv"])
def test_file_names_that_are_not_utf8(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9." + kind.encode(), b"o\xfc"))
    if kind == "csv":
        file.write_text(f"card_id,review_time,review_rating\n11,{REVIEWS[0][0]},3\n")
    else:
        write_collection_file(tmp_path / "plain.anki2", REVIEWS).rename(file)
    assert main(["import", str(file), "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert os.fsencode(answer["folder"]) == os.fsencode(out)
    assert list_collections(out) == [1]
    info = read_collection(out, 1).info
    assert (info.source, info.name) == (f"caf\ufffd.{kind}", "caf\ufffd")
    assert len(read_history(out, 1)) == 1
    assert sorted(path.suffix for path in out.rglob("*") if path.is_file()) == [".json", *[".parquet"] * 4]
    assert main(["import", str(file), "--out", str(out), "--replace"]) == 0
    assert "caf\ufffd" in capsys.readouterr().out


def test_names_print_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "\x1b]0;mine\x07\x9b2J\u202e"
    file = write_collection_file(tmp_path / f"{name}.anki2", REVIEWS)
    for options in ([], [], ["--elapsed", "start"], ["--json"]):
        assert main(["import", str(file), "--out", str(tmp_path / name), *options]) == 0
    assert main(["import", str(file), str(file) + "x", "--out", str(tmp_path / name)]) == 1
    output = capsys.readouterr()
    for letter in "\x1b\x07\x9b\u202e":
        assert letter not in output.out + output.err
    level = log.level
    log.setLevel("INFO")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress([], 0, name, "card").close()
    log.setLevel(level)
    assert "]0;mine" in (bar := capsys.readouterr().err)
    assert "\x1b]0" not in bar


@pytest.mark.parametrize("text", ["日本語\u3000x", "a\tb\nc", "naïve\u00a0😀\u200d🔥", "שלום\u200f"])
def test_text_of_human_scripts_is_printable(text: str) -> None:
    assert printable(text) == text
