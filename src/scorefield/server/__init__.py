"""The server: HTTP interfaces to the queue, and the page."""
