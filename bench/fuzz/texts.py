"""Files of text: configurations, reviews as CSV, single predictions, and the notes beside runs and imports."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from random import Random

import rwkv
from bench.fuzz import values
from bench.fuzz.collections import changed_cells, csv_bytes
from bench.fuzz.subject import Subject
from rwkv.config import TrainConfig
from rwkv.config_file import load_config
from rwkv.data.collection import read_info
from rwkv.data.imports.csv.reviews import read_csv
from rwkv.data.imports.imported import ImportChoices, review_columns
from rwkv.evaluation.json_lines import JsonLines
from rwkv.evaluation.results import read_raw
from rwkv.training.run import Progress, RunFiles
from tests.collection.people import make_person

_CONFIG = "train_rwkv_config.toml"


def _make_config(folder: Path) -> None:
    folder.mkdir()
    (folder / _CONFIG).write_bytes((Path(rwkv.__file__).parent / _CONFIG).read_bytes())


def _read_config(folder: Path) -> object:
    return load_config(folder / _CONFIG, TrainConfig)


def _wild_config(folder: Path, rng: Random) -> bytes:
    lines = (folder / _CONFIG).read_text().splitlines()
    places = [place for place, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    for place in rng.sample(places, rng.randint(1, 3)):
        key = lines[place].partition(" ")[0]
        name = rng.choice([key] * 8 + [key.lower(), f"{key}.{key}", f"[{key}]\nA", json.dumps(values.text(rng))])
        lines[place] = f"{name} = {_toml(rng)}"
    return "\n".join(lines).encode()


def _toml(rng: Random, depth: int = 2) -> str:
    draws = [
        lambda: str(values.integer(rng)),
        lambda: "9" * rng.choice([20, 5000]),
        lambda: repr(values.real(rng)),
        lambda: json.dumps(values.text(rng), ensure_ascii=rng.random() < 0.5),
        lambda: rng.choice(["true", "false", "1979-05-27T07:32:00Z", "07:32:00", "0x7f", "''", '"cpu"', '"cuda:99"']),
        lambda: "[" + ", ".join(_toml(rng, depth - 1) for _ in range(rng.randrange(4))) + "]",
        lambda: "{ A = " + _toml(rng, depth - 1) + " }",
        lambda: "[" * 400 + "]" * 400,
    ]
    return rng.choice(draws if depth else draws[:5])()


# --- Reviews as CSV

_CSV = "reviews.csv"
_START_MS = 1_700_000_000_000
_FORMS: tuple[Callable[[bytes], bytes], ...] = (bytes, bytes, bytes, gzip.compress, bz2.compress, lzma.compress)


def _rows() -> list[list[str]]:
    header = ["card_id", "review_time", "review_rating", "review_state", "review_duration"]
    return [header] + [
        [str(100 + number % 9), str(_START_MS + 50_000_000 * number), str(1 + number % 4), "2", str(4000 + number)]
        for number in range(60)
    ]


def _make_csv(folder: Path) -> None:
    folder.mkdir()
    (folder / _CSV).write_bytes(csv_bytes(_rows()).replace(b'"', b""))


def _read_csv(folder: Path) -> object:
    user = read_csv(folder / _CSV, ImportChoices(timezone="UTC"))
    return user.reviews, user.card_list, review_columns(user.reviews, user.clock, "start")


def _wild_csv(folder: Path, rng: Random) -> bytes:
    content = csv_bytes(changed_cells(_rows(), rng), rng.choice(",;\t|"))
    if rng.random() < 0.3:
        content = content.decode().encode(rng.choice(["utf-16", "utf-8-sig", "utf-32", "utf-16-be"]))
    return rng.choice(_FORMS)(content)


# --- JSON

_RAW, _RUN, _INFO = "raw.jsonl", "p.run", "collection/user_id=1/info.json"
_KEYS: dict[str, object] = {"EPOCHS": 1.5, "SEED": 3, "CHANNELS": None, "LAYERS": [1, 2, 1, 1, 1], "DTYPE": "float"}


def _make_notes(folder: Path) -> None:
    make_person(folder)
    lines = [
        {"user": user, "size": 2, "p": [0.5, 0.25], "y": [1.0, 0.0], "review_th": [4, 9 + user]} for user in range(1, 6)
    ]
    (folder / _RAW).write_text("".join(json.dumps(line) + "\n" for line in lines))
    _run_files(folder).record(Progress(4, 9, 1))


def _run_files(folder: Path) -> RunFiles:
    return RunFiles(folder, "p", 1, _KEYS, "data")


def _read_raw(folder: Path) -> object:
    JsonLines(folder, "raw").repair()
    JsonLines(folder, "raw").sort()
    return read_raw(folder / _RAW)


def _wild_raw(folder: Path, rng: Random) -> bytes:
    lines = [json.loads(line) for line in (folder / _RAW).read_text().splitlines()]
    place = rng.randrange(len(lines))
    lines[place] = values.changed(lines[place], rng)
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _wild_json(file: str, folder: Path, rng: Random) -> bytes:
    return json.dumps(values.changed(json.loads((folder / file).read_bytes()), rng)).encode()


SUBJECTS = (
    Subject("toml", _CONFIG, _make_config, _read_config, _wild_config, share=2),
    Subject("csv", _CSV, _make_csv, _read_csv, _wild_csv, share=2),
    Subject("results", _RAW, _make_notes, _read_raw, _wild_raw, share=0.5),
    Subject(
        "run",
        _RUN,
        _make_notes,
        lambda folder: _run_files(folder).progress(),
        lambda *a: _wild_json(_RUN, *a),
        share=0.3,
    ),
    Subject(
        "facts", _INFO, _make_notes, lambda folder: read_info(folder, 1), lambda *a: _wild_json(_INFO, *a), share=0.3
    ),
)
