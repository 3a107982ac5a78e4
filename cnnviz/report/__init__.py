"""A page that shows a run: its pictures, what was right and wrong, and where the network looked."""
