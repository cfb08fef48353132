"""Detectors of other libraries and ours with the same weights and input, one file per library."""
