"""The types of NumPy arrays in signatures: one name, one dtype."""

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
AnyInts = npt.NDArray[np.integer]
Float32s = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]
