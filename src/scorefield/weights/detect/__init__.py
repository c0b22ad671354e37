"""Identifying files and folders of weights by the names and shapes of their tensors."""
