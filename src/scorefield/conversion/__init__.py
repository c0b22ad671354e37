"""Convert a model's files to another layout."""
