"""Training: objective, loop (a generator), averaging, optimisers, saved states. Networks come as arguments."""
