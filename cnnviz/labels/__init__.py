"""Classes: their names, targets, ground truth and predictions."""
