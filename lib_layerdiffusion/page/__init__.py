"""What the page shows of LayerDiffuse."""
