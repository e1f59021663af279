"""How the miniature's networks are trained; nothing here is needed to run them."""
