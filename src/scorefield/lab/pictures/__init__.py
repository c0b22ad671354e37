"""Experiments on pictures, with the embedded model."""
