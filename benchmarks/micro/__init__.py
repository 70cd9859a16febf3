"""Paired timings of parts: kernels, engines, frames, training steps.

Each part passes a correctness check before it is timed.
"""
