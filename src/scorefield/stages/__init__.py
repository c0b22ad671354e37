"""The stages of a system. Most systems have one, which diffuses."""
