"""Readers of data sets' official files."""
