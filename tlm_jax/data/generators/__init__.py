"""Endless embedded data: pure functions of (seed, split, index)."""
