"""What Python and NumPy hold as one line of JSON."""

import json
import math
from collections.abc import Mapping

import numpy as np


def as_json(fields: Mapping[str, object]) -> str:
    """One JSON object in one line, in ASCII: names may hold what a terminal obeys, or an encoding lacks.

    A number that is not finite becomes null, a path its text.
    """
    return json.dumps(_plain(fields), allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
