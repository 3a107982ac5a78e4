"""Image files and folders: found, checked, decoded, and prepared for a network."""
