"""Detectors, each behind the contract of `Detector`."""
