"""Data sets made by procedure, for `vertebra demo` and for tests: nothing to download, and the truth is known."""
