"""Augmentations that combine several training images: mosaic, mixup, copy-paste, and jitter of the scale."""
