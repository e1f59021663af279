"""Finished pictures: reading them, and arithmetic on their pixels. No torch."""
