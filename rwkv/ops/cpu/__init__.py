"""The native CPU kernels (csrc/) and their bindings."""
