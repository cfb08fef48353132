"""Task, recipe and name of a run, chosen from the data set."""
