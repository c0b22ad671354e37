"""Samplers: walks from noise to data along a list of levels. Generators, pure, in any gauge."""
