"""Stages: what a system is made of. One stage that diffuses is the common case."""
