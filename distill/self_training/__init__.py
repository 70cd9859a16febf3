"""Pseudo-labeling: an ensemble of trained students labels the frames that it is sure of.

In: runs and a clip or images. Out: a data folder. Imported by the shell.
"""
