"""Labeled images, public test sets, frames without polyps, changed appearance, and the phantom.

In: folders. Out: pairs of image and mask paths, and images. Imports `edge.imaging`; imported by
evaluation, benchmarks and training.
"""
