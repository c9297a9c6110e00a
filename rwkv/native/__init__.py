"""The native kernels (csrc/) on NumPy arrays. They need a CPU and a build, but no PyTorch.

Every argument is contiguous. One that does not fit raises RuntimeError with its name, what is expected and what it has;
something that is no array, or is not aligned, raises TypeError. Results are new arrays, the same for every number of
threads. Other Python threads run meanwhile; they must not change an argument.
"""
