"""Between pixels and latents of unit variance; the scale and the shift live here and nowhere else."""
