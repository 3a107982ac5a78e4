"""A run over many images: what was asked for, what is done per image, and what is recorded."""
