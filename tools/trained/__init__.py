"""Trained runs in Python: loading, prediction, export."""
