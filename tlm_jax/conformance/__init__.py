"""Agreement with arrays that T5X and transformers recorded."""
