"""Frozen teachers, small students, frequency-domain losses, training and evaluation.

In: a `DistillConfig` and folders of images. Out: a run folder with checkpoints and metrics. May be
imported by `quantize`, `benchmarks` and the shell; imports of the device only `edge`.
"""
