"""From a command line and gin files to a configuration."""
