"""`rwkv predict` and `rwkv schedule` from the command line: stdout, stderr and exit codes."""

import json
from pathlib import Path

import pytest

from rwkv.cli import main
from rwkv.collection.chosen_model import DEMO_NOTICE, SHIPPED_NOTICE, demo_model
from rwkv.model.card import CARD, DEMO, TRAINED_BY
from rwkv.model.checkpoint import write_weights
from rwkv.model.spec import PUBLISHED
from tests.collection.people import REVIEWED, SCALE, make_person
from tests.networks import recipe_network

AT = "2026-02-01T18:00"
# Of a person of 40 reviews.
FEW = "The benchmark counts 0 of your reviews, too few for scores"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection in mine, and a demo whose weights are random, to be the current folder."""
    root = tmp_path_factory.mktemp("folder")
    make_person(root / "mine", reviews=40)
    (root / "rwkv-demo").mkdir()
    weights, card = recipe_network(PUBLISHED, SCALE).state_dict(), {"weights": {TRAINED_BY: DEMO}}
    write_weights(demo_model(root / "rwkv-demo"), weights, {CARD: json.dumps(card)})
    write_weights(root / "my.pth", weights)
    return root


@pytest.fixture(autouse=True)
def _inside(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command prints on stdout and on stderr, with the demo's weights unless others are given."""
    model = () if "--model" in arguments else ("--model", "rwkv-demo/model.safetensors")
    assert main([*arguments, *model]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_predict_prints_a_table_with_the_notice(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(capsys, "predict", "mine", "--at", AT, "--rows", "3")
    lines = out.splitlines()
    assert lines[0] == f"Ada, {REVIEWED + 1} cards, 2026-02-01 18:00 (UTC+02:00), model rwkv-demo/model.safetensors"
    assert lines[1] == f"NOTICE: {DEMO_NOTICE}. {FEW}"
    assert sum("Wort" in line for line in lines) == 3
    assert "predictions" not in err  # the progress bar: stderr is no terminal here


def test_the_text_json_and_stderr_warn_of_a_model_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "of your intervals are the shortest possible, 3e+03 d, even after Easy: this model does not fit your reviews"
    )
    common = ["predict", "mine", "--at", AT, "--least-days", "3000", "--retention", "0.94"]
    out, err = output(capsys, *common)
    assert words in out.splitlines()[2]
    assert words in err
    assert words in json.loads(output(capsys, *common, "--json")[0])["doubt"]


def test_a_schedule_with_cards_due_again_at_once_has_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    common = ["schedule", "mine", "--at", AT, "--days", "9", "--quiet"]
    out, _ = output(capsys, *common, "--retention", "0.999999")
    assert (
        "of the remembered cards come back on the next day: this model does not fit your reviews, or a desired" in out
    )
    assert "come back" not in output(capsys, *common, "--retention", "0.01")[0]


def test_an_empty_table_states_that_no_cards_match(capsys: pytest.CaptureFixture[str]) -> None:
    """The collection has decks, so there is nothing to explain."""
    out, _ = output(capsys, "predict", "mine", "--cards", "deck:Nowhere")
    assert out.splitlines()[0].startswith("Ada, 0 cards")
    assert out.splitlines()[-1] == "No cards match."


@pytest.mark.parametrize(
    ("query", "lacking"),
    [
        ("deck:Spanish", "a deck"),
        ("is:due word", "a text or a due day of Anki"),
        ("preset:a or tag:b", "a preset or a tag"),
        ("tag:easy", "a tag"),
        ("prop:ivl>0", "an interval of Anki"),
        ("-(-deck:Spanish)", "a deck"),
        ("added:3", "a date"),  # small ids are no times
    ],
)
def test_a_query_for_what_the_source_lacks_is_explained_once(
    query: str, lacking: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The explanation names the terms that can match: those about what the source has."""
    source = tmp_path / "reviews.csv"
    source.write_text("card_id,review_time,review_rating\n7,1700000000000,3\n")
    terms = "Terms that can match are rated:, cid:, prop:r, prop:p, prop:left"
    reason = f"no card here has {lacking}. {terms}"
    common = ["predict", str(source), "--cards", query]
    out, err = output(capsys, *common)
    assert out.splitlines()[-1] == f"No cards match: {reason}."
    assert reason not in err
    assert json.loads(output(capsys, *common, "--json")[0])["reason"] == reason
    for file in (["--format", "csv"], ["--out", str(tmp_path / "cards.csv")]):
        assert f"WARNING: {reason}\n" in output(capsys, *common, *file)[1]


@pytest.mark.parametrize(
    "query",
    [
        "-deck:Spanish cid:8",
        "-(word or is:due) cid:8",
        "-tag:easy cid:8",
        "cid:8",
        "is:new",
        "prop:r>2",
        "deck:Spanish or cid:8",
        "(preset:a or prop:r>2) -tag:easy",
    ],
)
def test_other_queries_have_no_explanation(query: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text("card_id,review_time,review_rating\n7,1700000000000,3\n")
    assert json.loads(output(capsys, "predict", str(source), "--cards", query, "--json")[0])["reason"] is None


def test_cards_of_a_source_without_tags_and_dates_have_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As those of a source without decks: a negated term matches them."""
    source = tmp_path / "reviews.csv"
    source.write_text("card_id,review_time,review_rating\n7,1700000000000,3\n")
    for query in ("-tag:easy", "tag:none", "-added:3", "-deck:Spanish"):
        read = json.loads(output(capsys, "predict", str(source), "--cards", query, "--json")[0])
        assert ([card["card_id"] for card in read["cards"]], read["reason"]) == ([7], None), query


def test_predict_json_is_one_object_and_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(
        capsys, "predict", "mine", "--at", AT, "--json", "--quiet", "--cards", "is:new or cid:1600000000000"
    )
    read = json.loads(out)
    assert err == ""
    assert read["notice"] == f"{DEMO_NOTICE}. {FEW}"
    assert len(read["cards"]) == 3
    assert all(0 < card["p_now"] < 1 for card in read["cards"])
    assert read["cards"] == sorted(read["cards"], key=lambda card: card["p_now"])


def test_a_chosen_model_has_no_notice(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(capsys, "predict", "mine", "--model", "my.pth", "--json", "--cards", "is:new")
    assert json.loads(out)["notice"] is None
    assert DEMO_NOTICE not in err


def test_the_packages_weights_are_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "mine", "--at", AT, "--json", "--quiet", "--cards", "is:new"]) == 0
    assert json.loads(capsys.readouterr().out)["notice"] == f"{SHIPPED_NOTICE}. {FEW}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "mine"],
        ["schedule", "mine", "--days", "2"],
        ["schedule", "mine", "--search", "0"],
        ["predict", "mine", "--out", "cards.csv"],
        ["predict", "mine", "--format", "csv"],
        ["predict", "mine", "--format", "csv", "--out", "/dev/stdout"],
        ["schedule", "mine", "--days", "2", "--out", "days.csv"],
    ],
    ids=" ".join,
)
def test_a_notice_is_printed_once(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(capsys, *arguments)
    assert (out + err).count(SHIPPED_NOTICE) + (out + err).count(DEMO_NOTICE) == 1


def test_csv_has_columns_only_and_the_notice_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(capsys, "predict", "mine", "--format", "csv")
    assert "notice" not in out
    assert f"INFO: {DEMO_NOTICE}. {FEW}\n" in err


def test_the_search_has_the_notice_on_stderr_with_one_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(capsys, "schedule", "mine", "--search", "0")
    assert "NOTICE" not in out + err
    assert f"INFO: {DEMO_NOTICE}. {FEW}\n" in err


def test_a_file_in_a_new_folder_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for command, name in (("predict", "cards.csv"), ("schedule", "days.csv")):
        path = tmp_path / "new" / command / name
        out, _ = output(capsys, command, "mine", "--out", str(path))
        assert f" written to {path}\n" in out
        assert path.is_file()


def test_predict_writes_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for ending in ("csv", "json", "parquet", "txt"):
        path = tmp_path / f"cards.{ending}"
        out, _ = output(capsys, "predict", "mine", "--quiet", "--out", str(path))
        assert str(path) in out
        assert path.stat().st_size > 500
    csv, _ = output(capsys, "predict", "mine", "--quiet", "--format", "csv", "--at", AT)
    assert csv.startswith("card_id,note,deck")


def test_schedule_prints_days_with_dates(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = output(capsys, "schedule", "mine", "--at", AT, "--days", "3", "--retention", "0.9")
    assert f"NOTICE: {DEMO_NOTICE}. {FEW}" in out
    assert [line.split()[:2] for line in out.splitlines() if line.strip()[:1].isdigit()] == [
        ["0", "2026-02-01"],
        ["1", "2026-02-02"],
        ["2", "2026-02-03"],
    ]


def test_schedule_is_the_same_in_every_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    common = ["schedule", "mine", "--at", AT, "--days", "2", "--quiet", "--retention", "0.9"]
    read = json.loads(output(capsys, *common, "--json")[0])
    assert (len(read["days"]), read["notice"]) == (2, f"{DEMO_NOTICE}. {FEW}")
    first = read["days"][0]
    assert first["search"] == "cid:" + ",".join(map(str, first["cards"]))
    assert first["reviews"] == len(first["cards"]) + len(first["repeats"]) > 0
    assert output(capsys, *common, "--search", "0")[0] == first["search"] + "\n"
    output(capsys, *common, "--out", str(tmp_path / "days.csv"))
    lines = (tmp_path / "days.csv").read_text().splitlines()
    assert lines[0] == "day,date,reviews,new,waiting,minutes,recall,search,notice"
    assert first["search"] in lines[1]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "nowhere"), ("nowhere",)),
        (("predict", "mine", "--at", "yesterday"), ("moment is not understood", "yesterday")),
        (("predict", "mine", "--cards", "is:old"), ("is:old",)),
        (("predict", "mine", "--user", "7"), ("not in the folder", "7")),
        (("predict", "mine", "--retention", "1.5"), ("retention", "1.5")),
        (("predict", "mine", "--least-days", "1e9"), ("shortest interval",)),
        (("predict", "mine", "--model", "none.pth"), ("none.pth",)),
        (("predict", "mine", "--retention", "nan"), ("retention", "nan")),
        (("predict", "mine", "--least-days", "nan"), ("shortest interval", "nan")),
        (("predict", "mine", "--least-days", "-1"), ("shortest interval", "-1")),
        (("predict", "mine", "--user", "99999999999999999999"), ("not in the folder",)),
        (("predict", "mine", "--at", "0001-01-01"), ("--at", "before the last review")),
        (("predict", "mine", "--at", "9999-12-31T23:59"), ("--at", "too far ahead")),
        (("predict", "mine", "--at", "-3d"), ("moment is not understood", "-3d")),
        (("predict", "mine", "--cards", "-"), ("a term after it",)),
        (("schedule", "mine", "--days", str(10**20)), ("--days", "3650")),
        (("schedule", "mine", "--search", "99999"), ("99999", "3649")),
        (("schedule", "mine", "--limit", "0"), ("--limit", "got: 0")),
        (("schedule", "mine", "--new", "-1"), ("--new", "got: -1")),
        (("schedule", "mine", "--backlog-days", str(10**12)), ("--backlog-days",)),
        (("schedule", "mine", "--retention", "inf"), ("retention", "inf")),
        (("predict", "mine", "--out", "cards.xlsx"), ("cards.xlsx",)),
        (("predict", "mine", "--format", "parquet"), ("--out",)),
        (("predict", "mine", "--rows", "-3"), ("--rows", "got: -3")),
        (("predict", "mine", "--at", "+99999999d"), ("--at", "too far ahead")),
        (("predict", "mine", "--at", f"+{10**25}d"), ("--at", "too far ahead")),
        (("schedule", "mine", "--days", "0"), ("0",)),
        (("schedule", "mine", "--seed", "-1"), ("seed", "got: -1")),
        (("schedule", "mine", "--search", "-1"), ("--search", "got: -1")),
        (("schedule", "mine", "--out", "days.xlsx"), ("days.xlsx",)),
    ],
)
def test_bad_input_is_refused_with_a_hint(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Exit code 2, and the message on stderr; stdout is empty, with --json the same in one object."""
    out, err = output(capsys, *arguments, "--quiet", code=2)
    assert out == ""
    assert err.startswith("error: ")
    for word in (*words, "next: "):
        assert word in err
    out, again = output(capsys, *arguments, "--json", "--quiet", code=2)
    assert again == err
    read = json.loads(out)
    assert read["exit_code"] == 2
    assert "\n".join(f"  {name}: {text}" for name, text in read["error"].items() if name != "what") in err
    assert read["error"]["what"] in err
