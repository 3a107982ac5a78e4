"""The networks that cnnviz knows by name, and where their weights come from."""
