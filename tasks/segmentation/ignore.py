"""The label of pixels that nobody has labelled."""

IGNORE_INDEX = 255
