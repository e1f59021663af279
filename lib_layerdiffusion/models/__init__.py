"""The networks, each written once in the order of its weight file."""
