"""Training runs: from their configuration to their report."""
