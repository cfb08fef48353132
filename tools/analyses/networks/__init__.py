"""Networks under analysis: runs and backbones with samples, their blocks and residual branches."""
