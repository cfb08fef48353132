"""Triton kernels for CUDA devices; imported where they are launched, since triton comes with torch for CUDA only."""
