"""A small but real latent diffusion model with the state-dict keys of SDXL, for tests and the demo."""
