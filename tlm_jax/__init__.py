"""tlm_jax: train small language models to reason."""
