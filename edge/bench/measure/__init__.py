"""Measure latency: streams, sampling, sensors, and the environment guard.

In: an open engine and frames, or a display and a camera. Out: lines of a journal, profiles of the
machine. Imported by `edge.bench.report` (for its types), the shell and benchmarks.
"""
