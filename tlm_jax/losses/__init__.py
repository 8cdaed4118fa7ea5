"""Losses as a weighted sum and a weight."""
