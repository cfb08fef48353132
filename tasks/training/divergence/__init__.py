"""Divergence detection: non-finite losses, gradients, weights and outputs, and a replay file of the faulty step."""
