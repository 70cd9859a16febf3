"""Measured comparisons, each gated on its correctness check; not shipped."""
