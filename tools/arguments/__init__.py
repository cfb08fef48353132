"""Arguments of a run: words, flags and configurations, read before anything heavy is imported."""
