"""Quantization-aware training, one canonical quantized graph, its engines and their parity.

In: a run folder of `distill`. Out: engines of three runtimes, and bundles. Imports `distill` and
`edge`; imported by `benchmarks` and the shell.
"""
