"""The version, which the rest may import without the public API."""

__version__ = "0.1.0"
