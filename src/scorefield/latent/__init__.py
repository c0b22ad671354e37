"""Codecs: pixels to latents of unit variance and back. Scale and shift live here and nowhere else."""
