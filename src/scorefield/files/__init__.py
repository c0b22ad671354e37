"""Picture and video files: one guarded reader, pictures and films with metadata, contact sheets, output names."""
