"""Families of models, one folder each: published sizes, files, and how they are built."""
