"""What `vertebra check` knows to look at: one small file for each kind of data set."""
