"""Which network is meant: by name, in files, or in a configuration file; and its weights."""
