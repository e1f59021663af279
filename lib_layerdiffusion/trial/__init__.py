"""Trying a running WebUI through its web API: is all right, and how fast? Standard library alone."""
