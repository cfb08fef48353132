"""Measures of a network, which the analyses put together."""
