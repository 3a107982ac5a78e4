"""What is inside a network: its layers, filters and activations, and images that excite it."""
