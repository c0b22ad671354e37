"""The mathematics of diffusion: levels, gauges, clocks, predictions, grids, noise. Torch only."""
