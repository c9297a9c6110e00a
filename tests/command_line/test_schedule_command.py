"""`rwkv schedule` of CSV: if its ids are texts, it names the cards by these, and cards of Anki by their numbers."""

import csv
import json
from pathlib import Path

import pytest

from rwkv.cli import main
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.collection.people import SCALE
from tests.networks import recipe_network

START_MS = 1_700_000_000_000


@pytest.fixture
def common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A schedule of two cards with texts as ids, by random weights, at a retention that makes both due at once."""
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "my.pth", recipe_network(PUBLISHED, SCALE).state_dict())
    lines = ["card_id,review_time,review_rating", f'"käse, weiß",{START_MS},3', f"=apple,{START_MS + 9000},3"]
    (tmp_path / "mine.csv").write_text("\n".join(lines), encoding="utf-8")
    assert main(["import", "mine.csv", "--out", "mine", "--quiet"]) == 0
    return ["schedule", "mine", "--days", "1", "--quiet", "--retention", "0.999999", "--model", "my.pth"]


def test_the_search_prints_texts_one_a_line(common: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([*common, "--search", "0"]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == ["=apple", "käse, weiß"]
    assert main([*common, "--json"]) == 0
    (day,) = json.loads(capsys.readouterr().out)["days"]
    assert sorted(day["search"].split("\n")) == ["=apple", "käse, weiß"]
    assert main(common) == 0
    assert "for the ids of a day's cards: rwkv schedule" in capsys.readouterr().out


def test_the_texts_are_no_formula_in_csv(common: list[str]) -> None:
    assert main([*common, "--out", "days.csv"]) == 0
    with Path("days.csv").open(encoding="utf-8", newline="") as file:
        (day,) = csv.DictReader(file)
    assert not day["search"].startswith("=")
    assert sorted(day["search"].removeprefix("'").split("\n")) == ["=apple", "käse, weiß"]


@pytest.mark.parametrize("deck", [0, 1])
def test_the_search_names_cards_of_anki_s_tables_by_their_numbers(
    deck: int, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of tables without decks, although every note has a text."""
    folder = Path("tables")
    folder.mkdir()
    (folder / "revlog.csv").write_text(f"id,cid,ease,ivl,factor,time,type\n{START_MS},7,3,1,2500,900,0\n")
    (folder / "cards.csv").write_text(f"id,nid,did,type,queue,due,ivl\n7,9,{deck},2,2,1,1\n")
    (folder / "notes.csv").write_text("id,flds,tags\n9,apple,\n")
    assert main(["import", "tables", "--out", "other", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["schedule", "other", *common[2:], "--search", "0"]) == 0
    assert capsys.readouterr().out == "cid:7\n"
