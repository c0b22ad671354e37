"""Data sets: pictures with captions, each a pure function of a seed and an index."""
