"""Knowledge distillation: a student is trained to agree with a trained network, its teacher."""
