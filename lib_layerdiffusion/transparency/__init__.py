"""RGBA to latent and back."""
