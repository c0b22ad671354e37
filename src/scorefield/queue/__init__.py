"""The queue: jobs that outlive the process, drawn one batch at a time, fairly between clients."""
