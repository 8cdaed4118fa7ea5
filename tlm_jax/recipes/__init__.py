"""The published methods, each from its data to its results by one command."""
