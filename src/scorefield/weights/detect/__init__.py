"""What a file or folder of weights is, from the names and shapes of its tensors."""
