"""Command-line interface: one small file per command."""
