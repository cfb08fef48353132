"""Sharing of a run: a folder for others, and its model card."""
