"""One folder a family of models: its published sizes, its files, how it is built."""
