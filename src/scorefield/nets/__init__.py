"""Plain networks, each with a frozen configuration: tensors in, tensors out."""
