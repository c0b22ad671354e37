"""LoRA files: their tensors, which weights these change, and by how much."""
