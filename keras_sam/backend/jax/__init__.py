"""JAX: gradients of functions, loops, shards, and the stateless train step."""
