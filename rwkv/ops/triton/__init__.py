"""Triton kernels for GPUs. The modules arguments, run_plan and tuning can be imported without Triton."""
