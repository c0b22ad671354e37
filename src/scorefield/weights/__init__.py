"""Weights: lazy readers, our own files, and the maps to published layouts."""
