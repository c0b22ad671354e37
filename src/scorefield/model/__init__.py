"""Contracts: what a model is made of, what it is asked, and what it tells while it works."""
