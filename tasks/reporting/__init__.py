"""Report page, charts and tables."""
