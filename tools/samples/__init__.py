"""Procedurally generated data sets with exact ground truth, for `vertebra demo` and for tests; no download."""
