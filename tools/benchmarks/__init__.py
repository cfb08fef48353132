"""Benchmarks of `vertebra benchmark`: this package against other libraries, in one process and in turn."""
