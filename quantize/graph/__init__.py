"""The canonical integer graph: traced, BatchNorm folded, on grids on which no runtime meets a tie.

In: a plain or quantized student. Out: `canonical.Canonical`, which every exporter reads. Imported
by the other packages of `quantize` and by benchmarks.
"""
