"""Picture files: names that never clash, writes that are whole or absent, metadata, contact sheets and films."""
