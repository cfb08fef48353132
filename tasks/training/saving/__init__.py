"""Fault-tolerant training: atomic checkpoints, resumable metric logs, and graceful stop on signals."""
