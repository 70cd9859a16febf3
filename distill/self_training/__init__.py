"""Pseudo-labeling: an ensemble of trained students labels the frames that it is sure of."""
