"""The native CPU kernels (csrc/) and their Python bindings."""
