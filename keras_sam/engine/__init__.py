"""One step as a pure function of tensors."""
