"""Maps of published networks: for each, a function of its config for every layout that it is published in."""
