"""The miniature's networks, their samplers and their weights."""
