"""Paired timings of parts: kernels, engines, frames, training steps. Each checks its result before it is timed."""
