"""Encoder-decoder and decoder-only models as pure functions over parameter trees."""
