"""Measures of explanations: where a heatmap lies, and whether it points at the right object."""
