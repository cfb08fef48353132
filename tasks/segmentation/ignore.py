"""The label of pixels that nobody has labeled."""

IGNORE_INDEX = 255
