"""Triton kernels for GPUs. What needs no Triton to be imported: arguments, run_plan, tuning."""
