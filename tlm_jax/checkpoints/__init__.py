"""Saving and restoring training."""
