"""A note beside each result file that says which model made its lines; the file's own format is the benchmark's."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rwkv.data.stored_bytes import decoding
from rwkv.errors import ConfigError
from rwkv.files import file_errors, write_whole

# Hexadecimal digits of a hash in messages.
_SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Model:
    """A file of weights, identified by its contents.

    Attributes:
        path: Where the file lay.
        sha256: SHA-256 of its bytes, in hexadecimal digits.
    """

    path: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.path} (sha256 {self.sha256[:_SHOWN_DIGITS]})"


def model_at(path: Path) -> Model:
    """Identify the model in a file of weights.

    Raises:
        InputError: The file cannot be read.
    """
    with file_errors(path), path.open("rb") as file:
        return Model(str(path), hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class ModelNote:
    """The note NAME.model.json beside folder/NAME.jsonl. It lists the users whose lines each model makes.

    A user's line is in no list if it is older than the note or was made by another program.
    """

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Path of the note."""
        return self.folder / f"{self.name}.model.json"

    def check(self, users: Iterable[int], model: Model) -> None:
        """Check that no other model made the lines of these users.

        Raises:
            ConfigError: Another model did.
        """
        models = self._read()
        others = [user for user in sorted(users) if models.get(user, model).sha256 != model.sha256]
        if others:
            raise ConfigError(
                f"Another model made the results of {len(others)} of the configured users.",
                where=f"{self.folder / self.name}.jsonl, user {others[0]}",
                got=f"MODEL_PATH {model}",
                expected=f"{models[others[0]]}, as {self.path.name} says",
                hint="choose other names in FILE_AHEAD and FILE_IMM or another folder, or move the old files away",
            )

    def note(self, users: Iterable[int], model: Model) -> None:
        """Record `model` as the maker of these users' lines; call it before the lines are written."""
        claimed = dict.fromkeys(users, model)
        if not claimed:
            return
        models = self._read() | claimed
        users_by_hash: dict[str, list[int]] = {}
        for user, maker in sorted(models.items()):
            users_by_hash.setdefault(maker.sha256, []).append(user)
        paths = {maker.sha256: maker.path for maker in models.values()}
        entries = [
            {"path": paths[sha256], "sha256": sha256, "users": numbers} for sha256, numbers in users_by_hash.items()
        ]
        write_whole(self.path, json.dumps({"models": entries}).encode())

    def _read(self) -> dict[int, Model]:
        with file_errors(self.path):
            if not self.path.is_file():
                return {}
            data = self.path.read_bytes()
        hint = "move the note away to continue without it; existing lines are then kept unchecked"
        with decoding("The note that names the model of the results is damaged.", str(self.path), hint=hint):
            entries = json.loads(data)["models"]
            return {int(user): Model(entry["path"], entry["sha256"]) for entry in entries for user in entry["users"]}
