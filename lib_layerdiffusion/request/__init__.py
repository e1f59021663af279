"""What one request says: settings, options, infotext, X/Y/Z axes, scenes."""
