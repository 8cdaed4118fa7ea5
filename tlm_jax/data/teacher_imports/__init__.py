"""Readers of what others captured of a teacher: servers' answers, Codex dumps, our own samples."""
