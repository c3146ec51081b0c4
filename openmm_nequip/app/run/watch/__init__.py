"""Watching a run: what no healthy simulation does is told, and what cannot be one is stopped."""
