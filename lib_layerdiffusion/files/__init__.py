"""Weight files: what they hold, where they are, how they come here."""
