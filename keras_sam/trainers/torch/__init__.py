"""PyTorch: the eager train step."""
