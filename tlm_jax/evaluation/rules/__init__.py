"""Grading rules by name: how an answer is found in a text and compared with the gold answer."""
