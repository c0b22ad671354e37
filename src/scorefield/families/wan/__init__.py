"""Wan: films from words."""
