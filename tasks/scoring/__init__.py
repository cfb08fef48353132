"""Metrics and their statistics: class metrics, calibration, bootstrap, ROC, DeLong, agreement."""
