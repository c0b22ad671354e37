"""Contracts: what a model is, before and after it is loaded."""
