"""Parts that detectors share: anchors, assigners, box coders, losses, heads, pooling and selection."""
