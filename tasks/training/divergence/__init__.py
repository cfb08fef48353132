"""Detection of non-finite losses, gradients and weights, and the record of the step that caused them."""
