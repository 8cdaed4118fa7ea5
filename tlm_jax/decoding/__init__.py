"""Turns a model's prefill and decode steps into generated tokens with their log-probabilities."""
