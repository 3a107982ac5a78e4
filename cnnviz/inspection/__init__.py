"""What a network is, before any image: one topic a file."""
