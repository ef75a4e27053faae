"""JAX: the stateless train step and groups of devices."""
