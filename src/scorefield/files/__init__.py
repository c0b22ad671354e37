"""Picture and video files: one guarded reader, PNG with metadata, contact sheets, videos, and output names."""
