"""Checkpoints and metrics that survive a kill, and the signals that end a run."""
