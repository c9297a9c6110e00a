"""The types of NumPy arrays in signatures: one name, one dtype."""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Bools = npt.NDArray[np.bool_]
Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
AnyInts = npt.NDArray[np.integer]
Float32s = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]

# An array of NumPy, or a tensor of PyTorch on any device: what a formula takes that both forms share.
Numbers = TypeVar("Numbers", np.ndarray[Any, Any], "Tensor")
