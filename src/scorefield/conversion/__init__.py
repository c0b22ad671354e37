"""A model's files in another layout."""
