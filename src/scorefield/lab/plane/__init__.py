"""Experiments on points in the plane, where everything can be seen and exact answers are known."""
