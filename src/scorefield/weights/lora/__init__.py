"""LoRA files: their tensors, the weights that these change, and by how much."""
