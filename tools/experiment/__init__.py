"""Surroundings of a training run: folder, lock, precision, progress bar, experiment trackers."""
