"""Contracts: the parts of a model, its spec, and the events of a job."""
