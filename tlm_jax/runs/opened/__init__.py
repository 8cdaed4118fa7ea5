"""A model of any format, opened to be run."""
