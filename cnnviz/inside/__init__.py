"""What a network is, before any picture: one topic a file."""
