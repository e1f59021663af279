"""Speed and memory, each against the plain procedure in the same run."""
