"""Label of unlabeled pixels, ignored by losses and metrics."""

IGNORE_INDEX = 255  # the largest value of an 8-bit mask, and the void label of Pascal VOC and Cityscapes
