"""Accumulating and writing metrics."""
