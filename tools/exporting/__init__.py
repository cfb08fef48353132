"""Export of trained networks to files of other runtimes, compared with the eager network."""
