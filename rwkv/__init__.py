"""RWKV for spaced repetition. The functions behind the `rwkv` command; rwkv/__init__.pyi lists the public names."""

import importlib
import re
from pathlib import Path

from rwkv.extras import missing_packages

__version__ = "0.1.0"

_MODULES = {
    name: module
    for module, name in re.findall(
        r"^from (\S+) import (\w+)", Path(__file__).with_suffix(".pyi").read_text("utf-8"), re.MULTILINE
    )
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that commands of the data layer run without torch."""
    if name in _MODULES:
        with missing_packages():
            return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'rwkv' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*globals(), *_MODULES])
