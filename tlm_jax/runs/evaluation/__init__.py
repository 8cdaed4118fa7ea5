"""Evaluation runs: checkpoints on tasks, with figures and a report."""
