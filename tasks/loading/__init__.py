"""Data sets, samplers, splits and loader processes, shared by the tasks."""
