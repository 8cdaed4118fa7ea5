"""Runs any model that can be opened here under EleutherAI's lm-evaluation-harness."""
