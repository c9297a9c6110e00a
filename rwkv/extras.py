"""Packages that only some commands need: a sentence that says what to install, where one is missing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rwkv.errors import InputError

# The package's optional dependencies in pyproject.toml, by the module that is imported.
EXTRAS = {
    "torch": "train",
    "triton": "train",
    "pyarrow": "train",
    "lmdb": "train",
    "safetensors": "train",
    "huggingface_hub": "train",
    "scipy": "compare",
    "fsrs_rs_python": "compare",
    "anki": "anki",
    "wandb": "wandb",
    "ray": "ray",
}


@contextmanager
def missing_packages() -> Iterator[None]:
    """Raise the failed import of a package of EXTRAS as an InputError."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        raise missing_package(module, "This command") from error


def missing_package(module: str, what: str, got: str = "") -> InputError:
    """The error for a missing module of EXTRAS. what: who needs it, the first words of the message."""
    hint = f'run `pip install "rwkv-srs[{EXTRAS[module]}]"`'
    what = f"{what} requires the package {module.replace('_', '-')}."
    return InputError(what, where=sys.prefix, got=got or "none", hint=hint)
