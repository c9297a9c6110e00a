"""The configurations of the benchmark's commands (spec 8): one frozen dataclass for each command.

A field is a TOML key in lower case. Its type carries the rule for its value, and `key` says what it means. A key
without a default is required. rwkv.config_file reads and checks the files.
"""

# ruff: noqa: RUF009 (`key` returns a field)

import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from rwkv.config_values import (
    DEVICE_RULE,
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
    RunName,
    Share,
    Size,
    Text,
    User,
    Workers,
    WorkersOrZero,
    list_of,
    list_of_different,
    list_of_each,
    one_of,
    whole,
)
from rwkv.vocab import STREAMS

# Rules between fields. Each holds the names of the fields, a test of their values, and the expectation for the first.
Relations = tuple[tuple[tuple[str, ...], Callable[..., bool], str], ...]

_KEYS = "the database of benchmark keys, which find_equalize_test_reviews fills"
_LARGEST = "the largest size of {} in bytes; nothing is reserved"
_UNUSED = "accepted for the published files, not used"
_DATASET = "the dataset: a folder with revlogs/, cards/ and decks/"
_DEVICE = '"cpu" or a GPU such as "cuda"'
_DTYPE = "the number format on a GPU; the CPU computes in float32"
_THREADS = "CPU threads of PyTorch; 0 for its own choice"
_MISSING_NOTES = 'cards without a note: "own" for one note each, "published" for the published code\'s numbering'


def key(meaning: str, default: Any = MISSING) -> Any:
    """A field of a configuration. meaning: one line for --help."""
    return field(default=default, metadata={"meaning": meaning})


def _in_order(start: str, end: str) -> Relations:
    expected = f"{start.upper()} or a user after it"
    return (((end, start), lambda *pair: None in pair or pair[0] >= pair[1], expected),)


def _unless_listed(*bounds: str) -> Relations:
    expected = f"{USER_RULE.expected}, or a list USER_IDS"
    return tuple(((bound, "user_ids"), lambda *pair: pair != (None, None), expected) for bound in bounds)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The keys that every command accepts."""

    relations: ClassVar[Relations] = ()

    label_filter_lmdb_path: Place = key(_KEYS, Path("label_filter_db"))
    label_filter_lmdb_size: Size = key(_LARGEST.format("this database"), 10_000_000_000)
    label_filter_key_prefix: Text = key("the prefix of the keys in this database", "")


@dataclass(frozen=True, kw_only=True)
class _Users(Config):
    """The users of a command: USER_IDS, or USER_START to USER_END, both included."""

    relations = _unless_listed("user_start", "user_end") + _in_order("user_start", "user_end")

    user_start: Annotated[int | None, USER_RULE] = key("the first user", None)
    user_end: Annotated[int | None, USER_RULE] = key("the last user", None)
    user_ids: Annotated[tuple[int, ...] | None, list_of_different(USER_RULE)] = key(
        "a list of users, instead of USER_START and USER_END", None
    )

    @property
    def users(self) -> Sequence[int]:
        """The configured users."""
        return self.user_ids or range(self.user_start or 0, (self.user_end or 0) + 1)


@dataclass(frozen=True, kw_only=True)
class FindKeysConfig(_Users):
    """Configuration of find_equalize_test_reviews. Source: spec 2, spec 8."""

    data_path: Folder = key(_DATASET)
    short: Flag = key("count same-day reviews, too", False)
    secs: Flag = key("measure intervals in fractions of a day", False)
    processes: Workers = key("worker processes", 1)
    # The keys do not depend on the algorithm, and the database always has room for enough readers.
    algo: Name = key(_UNUSED, "FSRS-6")
    lmdb_max_readers: Count = key(_UNUSED, 1024)


@dataclass(frozen=True, kw_only=True)
class ProcessDataConfig(_Users):
    """Configuration of data_processing. Source: spec 3, spec 8."""

    data_path: Folder = key(_DATASET)
    lmdb_path: Place = key("the store to write")
    lmdb_size: Size = key(_LARGEST.format("the store"))
    max_batch_size: Annotated[int, whole(2)] = key("rows of a segment, two for each review")
    missing_notes: MissingNotes = key(_MISSING_NOTES, "own")
    processes: Workers = key("worker processes", 1)
    # The store is written without torch, keeps full precision and always holds all five streams.
    device: Device = key(_UNUSED, "cuda")
    dtype: Dtype = key(_UNUSED, "bfloat16")
    rwkv_submodules: Annotated[tuple[str, ...], list_of_different(NAME_RULE)] = key(_UNUSED, STREAMS)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Configuration of train_rwkv. Source: spec 5, spec 8."""

    # The label_filter_* keys are not used: a store marks the rows that count.
    relations = (
        *_in_order("train_users_start", "train_users_end"),
        *_in_order("validate_users_start", "validate_users_end"),
        (("load_model_name", "load_model"), lambda name, load: name or not load, "the name of a model"),
    )

    train_users_start: User = key("the first training user")
    train_users_end: User = key("the last training user")
    validate_users_start: User = key("the first validation user")
    validate_users_end: User = key("the last validation user")
    train_dataset_lmdb_path: Place = key("the store of the training users")
    train_dataset_lmdb_size: Size = key(_LARGEST.format("this store"))
    validate_dataset_lmdb_path: Place = key("the store of the validation users, in whole histories")
    validate_dataset_lmdb_size: Size = key(_LARGEST.format("this store"))
    train_mode: Annotated[Literal["WS", "D"], one_of("WS", "D")] = key(
        'the learning rate: "WS" warms up and stays at its peak, "D" decays from the peak to zero'
    )
    warmup_steps: CountOrZero = key('steps of the warm-up of "WS"')
    epochs: Positive = key("passes over the training segments; fractions are allowed")
    peak_lr: Positive = key("the peak of the learning rate")
    save_model_folder: Folder = key("the folder of checkpoints and logs")
    save_model_prefix: RunName = key("the name of the run; checkpoints are called NAME_STEP.pth")
    device: Device = key(_DEVICE)
    dtype: Dtype = key(_DTYPE)
    threads: WorkersOrZero = key(_THREADS, 0)
    num_fetch_processes: WorkersOrZero = key("processes of a machine that prepare batches; 0 for none", 1)
    max_train_global_len: Count = key("the most rows of a step, in all processes together", 66_000)
    loss_mode: Annotated[Literal["all", "equalize"], one_of("all", "equalize")] = key(
        'the rows of the loss: "all", or "equalize" for those of the benchmark keys', "all"
    )
    dropout: Share = key("the factor of the published dropout rates, 0 to 1", 1.0)
    channels: Annotated[int | None, whole(16, 512)] = key(
        "channels of the network; the published size by default", None
    )
    heads: Annotated[int | None, whole(1, 32)] = key(
        "heads of a layer; by default those of 32 channels, else of 16, else of the most below 32 that divide CHANNELS",
        None,
    )
    layers: Annotated[tuple[int, ...] | None, list_of_each(STREAMS, whole(1, 8))] = key(
        "layers of each stream; the published numbers by default", None
    )
    optimizer: Optimizer = key('"adamw", or "muon" for the matrices of the mixers with AdamW for the rest', "adamw")
    step_offset: CountOrZero = key("the number of the first step", 1)
    resume: Flag = key("continue an unfinished run of the same name", True)
    seed: Annotated[int, whole(0, 2**63 - 1)] = key("the seed of initial weights, data order and dropout", 1234)
    load_model: Flag = key("start from LOAD_MODEL_FOLDER/LOAD_MODEL_NAME.pth", False)
    load_model_folder: Folder = key("the folder of the model to start from", Path())
    load_model_name: Text = key("the name of the model to start from, without .pth", "")
    use_wandb: Flag = key("log to Weights & Biases", False)
    wandb_project_name: Name = key("the project at Weights & Biases", "rwkv")
    wandb_resume: Flag = key("continue the Weights & Biases run WANDB_RESUME_ID", False)
    wandb_resume_id: Text = key("the id of the Weights & Biases run to continue", "")

    @property
    def train_users(self) -> range:
        """The training users."""
        return range(self.train_users_start, self.train_users_end + 1)

    @property
    def validate_users(self) -> range:
        """The validation users."""
        return range(self.validate_users_start, self.validate_users_end + 1)


def _of_one_kind(devices: tuple[str, ...] | None) -> bool:
    return len({device.partition(":")[0] for device in devices or ()}) <= 1


def _four_files(imm: str, ahead: str, result: Path, raw: Path) -> bool:
    """Whether two names in two folders lead to four files. True where the names or the folders are equal."""
    files = {os.path.realpath(folder / f"{name}.jsonl") for folder in (result, raw) for name in (imm, ahead)}
    return len(files) == 4 or imm == ahead or raw == result


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(_Users):
    """Configuration of get_result. Source: spec 6, spec 8."""

    relations = (
        *_Users.relations,
        (("devices",), _of_one_kind, "devices of one kind"),
        (("file_imm", "file_ahead"), lambda imm, ahead: imm != ahead, "another name"),
        (("raw_folder", "result_folder"), lambda raw, result: raw != result, "another folder"),
        (("file_imm", "file_ahead", "result_folder", "raw_folder"), _four_files, "a name of another file"),
    )

    file_ahead: Name = key("the result file of the forgetting curve (RWKV), without .jsonl")
    file_imm: Name = key("the result file of the immediate prediction (RWKV-P), without .jsonl")
    model_path: Place = key("the file of weights")
    device: Device = key(_DEVICE)
    dtype: Dtype = key(_DTYPE)
    devices: Annotated[tuple[str, ...] | None, list_of(DEVICE_RULE)] = key(
        'several devices instead of DEVICE, such as ["cuda:0", "cuda:1"]; each evaluates a part of the users', None
    )
    dataset_lmdb_path: Place = key("the store of whole histories")
    dataset_lmdb_size: Size = key(_LARGEST.format("this store"))
    threads: WorkersOrZero = key(_THREADS, 0)
    num_fetch_processes: WorkersOrZero = key("processes that read histories; 0 for none", 1)
    raw: Flag = key("write every prediction to RAW_FOLDER, and curve weights to RAW_DB_PATH", False)
    raw_db_path: Place = key("the database of curve weights", Path("raw/result_db"))
    raw_db_size: Size = key(_LARGEST.format("this database"), 3_000_000_000)
    result_folder: Folder = key("the folder of metrics", Path("result"))
    raw_folder: Folder = key("the folder of single predictions", Path("raw"))

    @property
    def all_devices(self) -> tuple[str, ...]:
        """DEVICES, or else DEVICE."""
        return self.devices or (self.device,)


def _one_or_many(user: int | None, ids: tuple[int, ...] | None, start: int | None, end: int | None) -> bool:
    many = ids is not None or (start is not None and end is not None)
    return many if user is None else (ids, start, end) == (None, None, None)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(_Users):
    """Configuration of run_as_rnn: one USER, or many. Source: spec 7, spec 8."""

    relations = (
        (
            ("user", "user_ids", "user_start", "user_end"),
            _one_or_many,
            f"{USER_RULE.expected}, or instead a list USER_IDS, or USER_START and USER_END",
        ),
        *_in_order("user_start", "user_end"),
    )

    data_path: Folder = key(_DATASET)
    model_path: Place = key("the file of weights")
    device: Device = key(_DEVICE)
    dtype: Dtype = key(_DTYPE)
    user: Annotated[int | None, USER_RULE] = key("one user, instead of several", None)
    threads: WorkersOrZero = key("CPU threads of PyTorch in each process; 0 for its own choice", 0)
    processes: Workers = key("worker processes for several users", 1)
    verbose: Flag = key("print every prediction", False)
    missing_notes: MissingNotes = key(_MISSING_NOTES, "own")
    memory: Size = key("bytes of states that a process keeps in memory; the rest goes to disk", 1_000_000_000)

    @property
    def users(self) -> Sequence[int]:
        """The configured user, or users."""
        return super().users if self.user is None else (self.user,)
