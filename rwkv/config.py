"""Configuration files: one frozen dataclass per command, checked once, all problems reported together (spec 8).

A field is a TOML key in lower case; its type carries the rule for the value. Without a default the key must be given.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

from rwkv.config_values import (
    NAME_RULE,
    USER_RULE,
    Count,
    CountOrZero,
    Device,
    Dtype,
    Flag,
    Folder,
    MissingNotes,
    Name,
    Optimizer,
    Place,
    Positive,
    Rule,
    RunName,
    Share,
    Size,
    Text,
    User,
    Workers,
    WorkersOrZero,
    list_of_different,
    list_of_each,
    one_of,
    whole,
)
from rwkv.errors import ConfigError
from rwkv.files import check_input, open_descriptor
from rwkv.vocab import STREAMS

# Each: names of fields, what must hold of their values, and in words what the first must be.
Relations = tuple[tuple[tuple[str, ...], Callable[..., bool], str], ...]
AnyConfig = TypeVar("AnyConfig", bound="Config")

# A file of a configuration has about a thousand bytes.
_MOST_BYTES, _MOST_DOTS = 1 << 20, 500
# Of what is wrong, so much is shown.
_MOST_UNKNOWN, _MOST_LETTERS = 20, 80


def _in_order(start: str, end: str) -> Relations:
    expected = f"{start.upper()} or a user after it"
    return (((end, start), lambda *pair: None in pair or pair[0] >= pair[1], expected),)


def _unless_listed(*bounds: str) -> Relations:
    expected = f"{USER_RULE.expected}, or a list USER_IDS"
    return tuple(((bound, "user_ids"), lambda *given: given != (None, None), expected) for bound in bounds)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every command is given: the database of benchmark keys, the most bytes it may take, and their prefix."""

    relations: ClassVar[Relations] = ()

    label_filter_lmdb_path: Place = Path("label_filter_db")
    label_filter_lmdb_size: Size = 10_000_000_000
    label_filter_key_prefix: Text = ""


@dataclass(frozen=True, kw_only=True)
class _Users(Config):
    """Which users a command works on: USER_IDS, or else USER_START to USER_END, both included."""

    relations = _unless_listed("user_start", "user_end") + _in_order("user_start", "user_end")

    user_start: Annotated[int | None, USER_RULE] = None
    user_end: Annotated[int | None, USER_RULE] = None
    user_ids: Annotated[tuple[int, ...] | None, list_of_different(USER_RULE)] = None

    @property
    def users(self) -> Sequence[int]:
        """The configured users."""
        return self.user_ids or range(self.user_start or 0, (self.user_end or 0) + 1)


@dataclass(frozen=True, kw_only=True)
class FindKeysConfig(_Users):
    """Configuration of find_equalize_test_reviews. Source: spec 2, spec 8."""

    data_path: Folder
    short: Flag = False
    secs: Flag = False
    processes: Workers = 1
    # Accepted, not used: the keys do not depend on the algorithm, and the database always has room for enough readers.
    algo: Name = "FSRS-6"
    lmdb_max_readers: Count = 1024


@dataclass(frozen=True, kw_only=True)
class ProcessDataConfig(_Users):
    """Configuration of data_processing. max_batch_size: rows, two for every review. Source: spec 3, spec 8."""

    data_path: Folder
    lmdb_path: Place
    lmdb_size: Size
    max_batch_size: Annotated[int, whole(2)]
    missing_notes: MissingNotes = "own"
    processes: Workers = 1
    # Accepted, not used: the store is made without torch, keeps full precision and always holds all five streams.
    device: Device = "cuda"
    dtype: Dtype = "bfloat16"
    rwkv_submodules: Annotated[tuple[str, ...], list_of_different(NAME_RULE)] = STREAMS


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Configuration of train_rwkv. max_train_global_len: rows a step. dropout: share of the published rates.

    channels, heads, layers: the size of the network, see `network_spec` in rwkv/benchmark/train.py; None: as published.
    Source: spec 5, spec 8.
    """

    # The label_filter_* are accepted, not used: the stores themselves hold which rows count.
    relations = (
        *_in_order("train_users_start", "train_users_end"),
        *_in_order("validate_users_start", "validate_users_end"),
        (("load_model_name", "load_model"), lambda name, load: name or not load, "the name of a model"),
    )

    train_users_start: User
    train_users_end: User
    validate_users_start: User
    validate_users_end: User
    train_dataset_lmdb_path: Place
    train_dataset_lmdb_size: Size
    validate_dataset_lmdb_path: Place
    validate_dataset_lmdb_size: Size
    train_mode: Annotated[Literal["WS", "D"], one_of("WS", "D")]
    warmup_steps: CountOrZero
    epochs: Positive
    peak_lr: Positive
    save_model_folder: Folder
    save_model_prefix: RunName
    device: Device
    dtype: Dtype
    threads: WorkersOrZero = 0
    num_fetch_processes: WorkersOrZero = 1
    max_train_global_len: Count = 66_000
    loss_mode: Annotated[Literal["all", "equalize"], one_of("all", "equalize")] = "all"
    dropout: Share = 1.0
    channels: Annotated[int | None, whole(16, 512)] = None
    heads: Annotated[int | None, whole(1, 32)] = None
    layers: Annotated[tuple[int, ...] | None, list_of_each(STREAMS, whole(1, 8))] = None
    optimizer: Optimizer = "adamw"
    step_offset: CountOrZero = 1
    resume: Flag = True
    seed: Annotated[int, whole(0, 2**63 - 1)] = 1234
    load_model: Flag = False
    load_model_folder: Folder = Path()
    load_model_name: Text = ""
    use_wandb: Flag = False
    wandb_project_name: Name = "rwkv"
    wandb_resume: Flag = False
    wandb_resume_id: Text = ""

    @property
    def train_users(self) -> range:
        """The users to learn from."""
        return range(self.train_users_start, self.train_users_end + 1)

    @property
    def validate_users(self) -> range:
        """The users to validate on."""
        return range(self.validate_users_start, self.validate_users_end + 1)


def _four_files(imm: str, ahead: str, result: Path, raw: Path) -> bool:
    """Whether two names in two folders, where both pairs differ, also lead to four files."""
    files = {os.path.realpath(folder / f"{name}.jsonl") for folder in (result, raw) for name in (imm, ahead)}
    return len(files) == 4 or imm == ahead or raw == result


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(_Users):
    """Configuration of get_result. file_ahead, file_imm: result files without ending. Source: spec 6, spec 8."""

    relations = (
        *_Users.relations,
        (("file_imm", "file_ahead"), lambda imm, ahead: imm != ahead, "another name"),
        (("raw_folder", "result_folder"), lambda raw, result: raw != result, "another folder"),
        (("file_imm", "file_ahead", "result_folder", "raw_folder"), _four_files, "a name of another file"),
    )

    file_ahead: Name
    file_imm: Name
    model_path: Place
    device: Device
    dtype: Dtype
    dataset_lmdb_path: Place
    dataset_lmdb_size: Size
    threads: WorkersOrZero = 0
    num_fetch_processes: WorkersOrZero = 1
    raw: Flag = False
    raw_db_path: Place = Path("raw/result_db")
    raw_db_size: Size = 3_000_000_000
    result_folder: Folder = Path("result")
    raw_folder: Folder = Path("raw")


def _one_or_many(user: int | None, ids: tuple[int, ...] | None, start: int | None, end: int | None) -> bool:
    many = ids is not None or (start is not None and end is not None)
    return many if user is None else (ids, start, end) == (None, None, None)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(_Users):
    """Configuration of run_as_rnn: one USER, or many. memory: bytes of states that a process holds, the others lie on
    disk. threads: of each process. Source: spec 7, spec 8.
    """

    relations = (
        (
            ("user", "user_ids", "user_start", "user_end"),
            _one_or_many,
            f"{USER_RULE.expected}, or in its place a list USER_IDS, or USER_START and USER_END",
        ),
        *_in_order("user_start", "user_end"),
    )

    data_path: Folder
    model_path: Place
    device: Device
    dtype: Dtype
    user: Annotated[int | None, USER_RULE] = None
    threads: WorkersOrZero = 0
    processes: Workers = 1
    verbose: Flag = False
    missing_notes: MissingNotes = "own"
    memory: Size = 1_000_000_000

    @property
    def users(self) -> Sequence[int]:
        """The configured user, or users."""
        return super().users if self.user is None else (self.user,)


def load_config(
    path: Path, cls: type[AnyConfig], settings: Sequence[tuple[str, str]] = (), **overrides: object
) -> AnyConfig:
    """Read a TOML file. Raises ConfigError that names every problem.

    settings: of `--set`, keys and their values in TOML, or a text without quotes; they go before the file. overrides:
    fields given by flags, which go before both.
    """
    table, rules = _read_table(path), _rules(cls)
    given = {key: _set_value(text, rules.get(key)) for key, text in settings}
    table |= given | {name.upper(): value for name, value in overrides.items()}
    return parse_config(table, cls, f"{path} and --set" if settings else str(path))


def _read_table(path: Path) -> dict[str, object]:
    if open_descriptor(path) is None:  # what the shell gives as <(...) ends
        check_input(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        if max(line.count(b".") for line in content.split(b"\n")) > _MOST_DOTS:
            raise ValueError("keys within keys, too deep")  # tomllib takes minutes for them
        # A byte order mark, which some editors write, is no part of the text.
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:
        hint = f"the shipped configurations in {Path(__file__).parent} are examples"
        what = "This is not a readable TOML file." if path.exists() else "There is no such file of a configuration."
        got = "values within values, too deep" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(what, where=str(path), got=got, hint=hint) from error


def _set_value(text: str, rule: Rule | None) -> object:
    """A value as `--set` gives it: TOML, but a text needs no quotes."""
    try:
        table = tomllib.loads(f"VALUE = {text}")
        value = table["VALUE"] if len(table) == 1 else text
    except (ValueError, RecursionError):
        return text
    is_text = rule is not None and rule.types == (str,)
    return text if is_text and not isinstance(value, str) else value


def _rules(cls: type[Config]) -> dict[str, Rule]:
    """The rule of each key."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name.upper(): get_args(hints[field.name])[1] for field in fields(cls)}


def parse_config(table: Mapping[str, object], cls: type[AnyConfig], source: str) -> AnyConfig:
    """Check a table of keys. source: where it is from, for the error. Raises ConfigError that names every problem."""
    rules = _rules(cls)
    unknown = [key for key in table if key not in rules]
    problems = [_unknown(key, list(rules)) for key in unknown[:_MOST_UNKNOWN]]
    if len(unknown) > _MOST_UNKNOWN:
        problems.append(f"and {len(unknown) - _MOST_UNKNOWN} more unknown keys")
    values: dict[str, Any] = {}
    for field in fields(cls):
        key = field.name.upper()
        rule, value = rules[key], table.get(key, field.default)
        if key not in table and value is not MISSING:
            values[field.name] = value
        elif rule.accepts(value):
            values[field.name] = rule.convert(value)
        else:
            problems.append(f"{_stated(field.name, value)}: expected {rule.expected}")
    for names, holds, expected in cls.relations:
        given = {name: values[name] for name in names if name in values}
        if len(given) == len(names) and not holds(*given.values()):
            first, *others = (_stated(name, value) for name, value in given.items())
            problems.append(f"{first}: expected {expected} ({', '.join(others)})")
    if problems:
        raise ConfigError("\n    ".join(["The configuration is wrong:", *problems]), where=source)
    return cls(**values)


def as_keys(config: Config) -> dict[str, object]:
    """The whole configuration by TOML key in values that JSON keeps: to store it, or to compare two key by key."""
    values = {field.name.upper(): getattr(config, field.name) for field in fields(config)}
    return json.loads(json.dumps(values, default=str))


def _unknown(key: str, known: list[str]) -> str:
    shown = key[:_MOST_LETTERS]
    return f"{shown}: unknown key; the nearest known one is {difflib.get_close_matches(shown.upper(), known, 1, 0)[0]}"


def _stated(name: str, value: object) -> str:
    if value is MISSING or value is None:
        return f"{name.upper()} is missing"
    try:
        shown = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # numbers of thousands of digits, values within values
        shown = "what is too long to show"
    return f"{name.upper()} = {shown:.{_MOST_LETTERS}}"
