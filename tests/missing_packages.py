"""Programs in a process in which some packages cannot be imported."""

from collections.abc import Iterable

_MISSING = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without(packages: Iterable[str]) -> str:
    """The first lines of a program, after which these packages are missing."""
    return _MISSING.format(packages=sorted(packages))
