"""Fine-tuning of a trained run after its network was pruned, or for int8 layers."""
