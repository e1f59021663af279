"""Transparent pictures for Stable Diffusion WebUI Forge: tensors, pictures, weight files and methods."""

__version__ = "0.1.0"
