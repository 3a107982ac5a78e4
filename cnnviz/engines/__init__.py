"""What runs a graph: one folder an engine, all behind one contract."""
