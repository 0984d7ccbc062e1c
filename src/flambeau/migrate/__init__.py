"""A TorchServe installation read: what of it runs as it is, what differs, and what to change."""
