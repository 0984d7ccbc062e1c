"""What TorchServe's worker offers to programs that drive handlers without a server."""
