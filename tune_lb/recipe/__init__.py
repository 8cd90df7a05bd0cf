"""A trial as plain PyTorch code."""
