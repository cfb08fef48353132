"""Trained runs in Python: loading, prediction, sharing."""
