"""Experiments on points in the plane, where everything is small enough to be seen, and the exact answer is known."""
