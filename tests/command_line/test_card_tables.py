"""Tables of cards for people, and the same numbers for programs in every format."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rwkv.collection.card_predictions import CardPredictions
from rwkv.command_line.answer import as_json
from rwkv.command_line.card_tables import (
    Heading,
    as_csv,
    as_fields,
    as_text,
    format_of,
    formatted,
    short_days,
    write_cards,
)
from rwkv.errors import InputError

HEADING = Heading("Ada", 1, "2026-02-01 18:00 (UTC)", 809, Path("model.pth"), None)
DEMO = replace(HEADING, notice="a demo")


def some_cards() -> CardPredictions:
    """One reviewed card, one new one, one that is suspended."""
    columns = {name: np.array([0.1, 0.5, np.nan]) for name in CardPredictions.__dataclass_fields__}
    columns |= {
        "card_id": np.array([11, 22, 33]),
        "note": np.array(['a "quoted",\nword', "", "x" * 50], object),
        "deck": np.array(["A::B", "C", "D"], object),
        "preset": np.array(["P", "P", "P"], object),
        "p_now": np.array([0.9, 0.25, 0.75]),
        "p_curve": np.array([0.8, np.nan, 0.5]),
        "left_days": np.array([-40.0, np.nan, 3.25]),
        "days_easy": np.array([np.inf, 400.0, 0.01]),
        "due_in_days": np.array([-2.0, np.nan, 5.0]),
        "anki_interval_days": np.array([5, 0, 7]),
        "is_new": np.array([False, True, False]),
        "is_suspended": np.array([False, False, True]),
    }
    return CardPredictions(**columns)


def test_files_contain_no_control_characters(tmp_path: Path) -> None:
    """In files of text; JSON holds all in ASCII."""
    notes = [" =1+1", "\x1b]0;x\x07é\u202e\udce9"]
    cards = some_cards().rows(np.array([0] * len(notes)))
    cards = replace(cards, note=np.array(notes, object), deck=np.array(notes, object))
    for format in ("csv", "text", "json"):
        write_cards(tmp_path / format, HEADING, cards, format)
    lines = csv.DictReader(io.StringIO((tmp_path / "csv").read_text(encoding="utf-8")))
    assert [line["note"] for line in lines] == ["' =1+1", "\ufffd]0;x\ufffdé\ufffd\ufffd"]
    assert "\x1b" not in (tmp_path / "text").read_text(encoding="utf-8")
    plain = (tmp_path / "json").read_text(encoding="ascii")
    assert "\x1b" not in plain
    assert [card["note"] for card in json.loads(plain)["cards"]] == notes


def test_text() -> None:
    lines = as_text(HEADING, some_cards(), 3).split("\n")
    assert lines[0] == "Ada, 3 cards, 2026-02-01 18:00 (UTC), model model.pth"
    first, new, suspended = lines[-3:]
    assert first.startswith('a "quoted", word             A::B')
    assert first.split()[-1] == "-2.0d"
    assert "0.900" in first
    assert "-40.0d" in first
    assert "never" in first
    assert new.startswith("22 ")
    assert suspended.startswith(27 * "x" + "…")
    assert suspended.endswith("off")
    assert {len(line) for line in lines[2:]} == {len(first)}


@pytest.mark.parametrize(
    ("note", "shown", "columns"),
    [
        ("日本語", "日本語", 6),
        (20 * "語", 13 * "語" + "…", 27),
        ("x" + 20 * "語", "x" + 13 * "語" + "…", 28),
        ("e\u0301" * 28, "e\u0301" * 28, 28),
        ("red \x1b[31malert\x07", "red [31malert", 13),
        ("a\n\tb", "a b", 3),
    ],
)
def test_text_in_every_script_keeps_its_columns(note: str, shown: str, columns: int) -> None:
    """The next column begins where it always does, and no note can move a terminal's cursor."""
    cards = replace(some_cards(), note=np.array([note, "", ""], object))
    line = as_text(HEADING, cards, 1).split("\n")[-2]
    assert line.startswith(shown + " " * (28 - columns) + " A::B ")


@pytest.mark.parametrize("note", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_in_csv_is_never_a_formula(note: str) -> None:
    """An apostrophe makes it a text; other texts and numbers below 0 stay, and so does JSON."""
    cards = replace(some_cards(), note=np.array([note, "a=1", "x"], object))
    first, second, _ = csv.DictReader(io.StringIO(as_csv(cards), newline=""))
    assert first["note"] == f"'{note}".replace("\r", "\n")
    assert second["note"] == "a=1"
    assert first["left_days"] == "-40"
    rows = as_fields(HEADING, cards)["cards"]
    assert isinstance(rows, list)
    assert rows[0]["note"] == note


def test_a_collections_name_prints_no_control_characters() -> None:
    assert "\x1b" not in as_text(replace(HEADING, name="\x1b[2JAda"), some_cards(), 1)


def test_text_states_hidden_cards_and_the_models_notice() -> None:
    text = as_text(DEMO, some_cards(), 1)
    assert "NOTICE: a demo" in text
    assert "... and 2 more" in text
    assert "22 " not in text


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0.0, "0m"),
        (0.01, "14m"),
        (0.2, "4.8h"),
        (1.0, "1.0d"),
        (-3.25, "-3.2d"),
        (60.0, "60.0d"),
        (90.0, "3.0mo"),
        (-730.5, "-2.0y"),
        (np.inf, "never"),
    ],
)
def test_days(days: float, text: str) -> None:
    assert short_days(days) == text


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(some_cards()))))
    assert [row["card_id"] for row in rows] == ["11", "22", "33"]
    assert rows[0]["note"] == 'a "quoted",\nword'
    assert (rows[0]["p_now"], rows[0]["days_easy"], rows[1]["p_curve"]) == ("0.9", "inf", "")
    assert rows[0].keys() == some_cards().columns.keys()


def test_json() -> None:
    read = json.loads(as_json(as_fields(DEMO, some_cards())))
    assert (read["name"], read["notice"], read["model"], read["day"]) == (
        "Ada",
        "a demo",
        "model.pth",
        809,
    )
    first, new, suspended = read["cards"]
    assert (first["card_id"], first["p_now"], first["days_easy"], first["is_new"]) == (11, 0.9, None, False)
    assert (new["p_curve"], suspended["is_suspended"]) == (None, True)
    assert first.keys() == some_cards().columns.keys()


def test_files(tmp_path: Path) -> None:
    cards = some_cards()
    for name in ("text", "csv", "json"):
        write_cards(tmp_path / name, HEADING, cards, name)
        assert (tmp_path / name).read_text() == formatted(HEADING, cards, name, 3) + "\n"
    write_cards(tmp_path / "deep" / "x.parquet", DEMO, cards, "parquet")
    table = pq.read_table(tmp_path / "deep" / "x.parquet")
    assert table.column_names == list(cards.columns)
    np.testing.assert_array_equal(table["p_curve"].to_numpy(), cards.p_curve)
    assert table["note"].to_pylist() == cards.note.tolist()


def test_formats() -> None:
    assert format_of(None, None) == "text"
    assert format_of(None, "csv") == "csv"
    assert format_of(Path("x.json"), None) == "json"
    assert format_of(Path("x.txt"), None) == "text"
    assert format_of(Path("x.json"), "csv") == "csv"
    with pytest.raises(InputError, match="ending is unknown"):
        format_of(Path("x.xlsx"), None)
    with pytest.raises(InputError, match="Parquet"):
        format_of(None, "parquet")


def test_a_failed_write_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for format in ("csv", "parquet"):
        with pytest.raises(InputError):
            write_cards(tmp_path / "file" / "below", HEADING, some_cards(), format)
