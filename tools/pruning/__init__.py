"""Structured pruning: groups of channels, their importance, the plan for a speedup, and what it gives."""
