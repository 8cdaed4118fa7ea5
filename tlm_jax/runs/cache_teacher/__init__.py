"""Teacher caches: filled by scoring or import, checked, joined, shown."""
