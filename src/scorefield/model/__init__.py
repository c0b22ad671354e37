"""Contracts: the parts of a model, what it is asked, and the events of its work."""
