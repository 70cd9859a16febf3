"""Trackers of experiments as callbacks of a training, each in its module with its own extra.

In: configuration, epochs and pictures of a training. Out: what the tracker stores. Imported by
reference from `distill.train.followers` alone.
"""
