"""How good the trained miniature is."""
