"""Files of weights: found, downloaded, checked, read and matched to a network."""
