"""Reports of `vertebra check`: one small file for each kind of data set."""
