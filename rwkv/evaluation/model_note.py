"""Which model made the lines of a result file: a note beside the file, whose own form is the benchmark's."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rwkv.data.stored_bytes import decoding
from rwkv.errors import ConfigError
from rwkv.files import file_errors, write_whole

_SHOWN = 12


@dataclass(frozen=True)
class Model:
    """A file of weights: where it lay, and the SHA-256 of its bytes in hexadecimal digits, by which it is known."""

    path: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.path} (sha256 {self.sha256[:_SHOWN]})"


def model_at(path: Path) -> Model:
    """The model in a file of weights. Raises InputError where it cannot be read."""
    with file_errors(path), path.open("rb") as file:
        return Model(str(path), hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class MadeBy:
    """The note NAME.model.json beside folder/NAME.jsonl: the models, each with the users whose lines it makes.

    Lines of users in no model's list are older than the note, or of another program.
    """

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Where the note lies."""
        return self.folder / f"{self.name}.model.json"

    def check(self, users: Iterable[int], model: Model) -> None:
        """Raise ConfigError where lines of any of these users were made by another model."""
        made_by = self._read()
        others = [user for user in sorted(users) if made_by.get(user, model).sha256 != model.sha256]
        if others:
            raise ConfigError(
                f"Another model made the results of {len(others)} of the configured users.",
                where=f"{self.folder / self.name}.jsonl, user {others[0]}",
                got=f"MODEL_PATH {model}",
                expected=f"{made_by[others[0]]}, as {self.path.name} says",
                hint="give other names in FILE_AHEAD and FILE_IMM or another folder, or move the old files away",
            )

    def note(self, users: Iterable[int], model: Model) -> None:
        """Note that `model` makes these users' lines from now on. To be called before the lines are written."""
        claimed = dict.fromkeys(users, model)
        if not claimed:
            return
        made_by = self._read() | claimed
        users_of: dict[str, list[int]] = {}
        for user, of in sorted(made_by.items()):
            users_of.setdefault(of.sha256, []).append(user)
        path_of = {of.sha256: of.path for of in made_by.values()}
        models = [{"path": path_of[sha256], "sha256": sha256, "users": of} for sha256, of in users_of.items()]
        write_whole(self.path, json.dumps({"models": models}).encode())

    def _read(self) -> dict[int, Model]:
        with file_errors(self.path):
            if not self.path.is_file():
                return {}
            stated = self.path.read_bytes()
        hint = "move it away to go on without; then nothing is known of the lines that are there"
        with decoding("The note of which model made the results is damaged.", str(self.path), hint=hint):
            models = json.loads(stated)["models"]
            return {int(user): Model(of["path"], of["sha256"]) for of in models for user in of["users"]}
