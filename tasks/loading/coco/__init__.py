"""COCO annotation files: one reader for boxes and outlines, https://cocodataset.org/#format-data."""
