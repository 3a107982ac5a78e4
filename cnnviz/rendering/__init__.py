"""Heatmaps as images: color maps, overlays, text, grids and figures."""
