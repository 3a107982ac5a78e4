"""Two runs over the same images: what B gained and lost, and whether it looks elsewhere."""
