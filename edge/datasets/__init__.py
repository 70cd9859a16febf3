"""Labeled images, public test sets, frames without polyps, changed appearance, and the phantom.

In: folders. Out: pairs of image and mask paths, and images. Imports helpers of `edge.util` alone;
imported by evaluation, the pipeline's sources, benchmarks, training and the shell.
"""
