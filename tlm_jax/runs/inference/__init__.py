"""Inference runs: from prompts to samples."""
