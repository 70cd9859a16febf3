"""Paired timings of parts: kernels, engines, frames, training steps.

In: parts of every package. Out: samples for `benchmarks.record`. Each part passes a correctness
check before it is timed. Imported by `benchmarks.registry`.
"""
