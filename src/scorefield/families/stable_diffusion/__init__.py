"""Stable Diffusion 1, 2, XL and unCLIP."""
