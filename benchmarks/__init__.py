"""Measured comparisons, each gated on its correctness check; not shipped.

In: bundles, runs and other programs. Out: records in `results/`, from which the documents are
generated. May import every package; imported by none.
"""
