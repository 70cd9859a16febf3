"""Pixels in and out: preprocessing, field of view, cropping, and regions of a score map.

In: frames as numpy arrays. Out: model inputs, regions. The same code runs in training, evaluation
and on the device; imports numpy and OpenCV alone, and may be imported by all of them.
"""
