"""Configuration files, also damaged ones, and keys from the command line that override them."""

from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from rwkv.command_line.config_options import config_parser, configured
from rwkv.config import Config, FindKeysConfig, TrainConfig
from rwkv.config_file import load_config
from rwkv.errors import ConfigError, InputError
from tests.test_config import COMMANDS, FOLDER, TABLES, parse


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'DATA_PATH = "a\n', "line 1"),
        (b"DATA_PATH = 1\nDATA_PATH = 2\n", "line 2"),
        (b"DATA_PATH = '\xff'\n", "utf-8"),
    ],
)
def test_files_that_are_not_toml_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(path, FindKeysConfig)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"A = " + b"[" * 100_000,
        b"SHORT = " + b"[" * 400 + b"]" * 400,
        b"SHORT = " + b"{a=" * 300 + b"1" + b"}" * 300,
        b"a." * 20_000 + b"b = 1",
        b"[a." + b"b." * 20_000 + b"c]\nd = 1",
        b"SHORT = 0x" + b"f" * 20_000,
        b"SHORT = " + b"9" * 20_000,
        b'"' + b"k" * 100_000 + b'" = 1',
        b"\n".join(b"K%d = 1" % number for number in range(20_000)),
        b"\xff\xfeD\0A\0T\0A\0",
        b"#" * (1 << 21),
        b'DATA_PATH = "\\uD800"',
    ],
    ids=lambda content: repr(content[:14]),
)
def test_damaged_files_give_short_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path, FindKeysConfig)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 5000


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(InputError, match=r"This is not a file(.|\n)*/dev/zero"):
        load_config(Path("/dev/zero"), TrainConfig)


def test_the_files_path_may_begin_with_the_home_folder(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in --config=~/config.toml, which a shell leaves as it is."""
    monkeypatch.setenv("HOME", str(result.parent))
    options = config_parser("a command", None, "*.toml", FindKeysConfig).parse_args(
        [f"--config=~/{result.name}", "--set", "USER_END=3"]
    )
    assert configured(options, FindKeysConfig).users == range(1, 4)


@pytest.mark.parametrize("cls", COMMANDS)
def test_the_help_explains_every_key(cls: type[Config], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config_parser("a command", None, "*.toml", cls).parse_args(["--help"])
    text = capsys.readouterr().out
    for field in fields(cls):
        assert f"  {field.name.upper()}\n      {field.metadata['meaning']}\n" in text
        assert len(field.metadata["meaning"]) >= 10
    assert text.count("(required; ") == sum(field.default is MISSING for field in fields(cls))


# --- Keys from the command line


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A whole file of find_equalize_test_reviews."""
    path = tmp_path / "config.toml"
    path.write_text('DATA_PATH = "d"\nUSER_START = 1\nUSER_END = 2\nSHORT = true\n')
    return path


def test_settings_override_the_file_and_flags_override_both(result: Path) -> None:
    settings = [("USER_END", "9"), ("SHORT", "false"), ("USER_END", "7"), ("LABEL_FILTER_KEY_PREFIX", '"a b_"')]
    config = load_config(result, FindKeysConfig, settings, secs=True)
    assert (config.users, config.short, config.secs) == (range(1, 8), False, True)
    assert config.label_filter_key_prefix == "a b_"
    assert load_config(result, FindKeysConfig, [("SECS", "false")], secs=True).secs is True


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("DATA_PATH", "../some where/x", Path("../some where/x")),
        ("DATA_PATH", '"quoted"', Path("quoted")),
        ("DATA_PATH", "2024", Path("2024")),
        ("DATA_PATH", "true", Path("true")),
        ("DATA_PATH", "a\nUSER_END = 5", Path("a\nUSER_END = 5")),
        ("LABEL_FILTER_KEY_PREFIX", "", ""),
        ("LABEL_FILTER_LMDB_SIZE", "1_000_000", 1_000_000),
        ("USER_IDS", "[3, 1]", (3, 1)),
    ],
)
def test_texts_need_no_quotes(result: Path, key: str, text: str, expected: object) -> None:
    assert getattr(load_config(result, FindKeysConfig, [(key, text)]), key.lower()) == expected


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("USER_ENDS", "3", "USER_ENDS: unknown key; the nearest key is USER_END"),
        ("user_end", "3", "user_end: unknown key; the nearest key is USER_END"),
        ("USER_END", "many", 'USER_END = "many": expected a user number'),
        ("USER_END", "0", "USER_END = 0: expected USER_START or a user after it"),
        ("SHORT", "yes", 'SHORT = "yes": expected true or false'),
        ("SHORT", "[" * 100_000, "SHORT = "),
    ],
)
def test_settings_are_checked_like_the_file(result: Path, key: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(result, FindKeysConfig, [(key, text)])
    assert words in str(caught.value)
    assert f"{result} and --set" in str(caught.value)


@pytest.mark.parametrize("cls", COMMANDS)
def test_every_key_of_every_command_can_be_set(cls: type[Config], tmp_path: Path) -> None:
    """A file without keys does, where all are given so."""
    path = tmp_path / "config.toml"
    path.write_text("")
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in TABLES[cls].items()}
    assert load_config(path, cls, list(texts.items())) == parse(cls)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    """Which name the path once."""
    for path, what, got in (
        (tmp_path / "none.toml", "The configuration file does not exist.", None),
        (tmp_path, "This is not a readable TOML file.", "Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path, TrainConfig)
        assert (caught.value.what, caught.value.details.get("got")) == (what, got)
        assert str(caught.value).count(str(path)) == 1
        assert str(FOLDER) in caught.value.details["next"]


def test_files_of_other_editors_are_read(tmp_path: Path) -> None:
    """A byte order mark and line ends of Windows."""
    path = tmp_path / "config.toml"
    text = (FOLDER / "train_rwkv_config.toml").read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_config(path, TrainConfig) == load_config(FOLDER / "train_rwkv_config.toml", TrainConfig)


def test_a_file_for_the_published_code_works(tmp_path: Path) -> None:
    """Comments, blank lines, no LABEL_FILTER_* in training, keys that nothing uses."""
    path = tmp_path / "config.toml"
    lines = (FOLDER / "train_rwkv_config_short_secs_equalize.toml").read_text().splitlines()
    path.write_text("# ours\n\n" + "\n".join(line for line in lines if not line.startswith("LABEL_FILTER")))
    assert load_config(path, TrainConfig).loss_mode == "equalize"
    # The keys of the newest published configuration, which finds the other key set under the empty prefix.
    assert parse(FindKeysConfig, ALGO="FSRS-6", SHORT=True, SECS=True).label_filter_key_prefix == ""
    assert parse(FindKeysConfig, LMDB_MAX_READERS=128, SHORT=True, SECS=True).users == range(1, 10_001)
    assert parse(TrainConfig, LABEL_FILTER_KEY_PREFIX="short_secs_", EPOCHS=1.7, TRAIN_MODE="D").epochs == 1.7
