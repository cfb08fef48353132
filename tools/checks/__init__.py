"""Splits of a data set, and what `vertebra check` reports of them: one small file for each kind of data set."""
