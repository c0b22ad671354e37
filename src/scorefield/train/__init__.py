"""Training: objective, loop (a generator), EMA, optimisers, state. Networks come as arguments."""
