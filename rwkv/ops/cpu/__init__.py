"""The native kernels (rwkv/native) on tensors, with gradients."""
