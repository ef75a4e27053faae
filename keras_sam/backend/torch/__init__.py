"""PyTorch: automatic differentiation, loops and the train step."""
