"""Networks from elsewhere as graphs: one file a format."""
