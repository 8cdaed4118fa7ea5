"""Language models behind an OpenAI-compatible server; imports nothing of JAX."""
