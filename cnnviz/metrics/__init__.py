"""Measurements of how far explanations can be trusted, where the truth is known."""
