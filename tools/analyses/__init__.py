"""Analyses of why residual networks work; `vertebra analyze WHAT RUN_OR_NAME` runs them."""
