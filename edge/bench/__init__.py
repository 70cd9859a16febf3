"""Latency of a bundle on this machine: measurement, records, reports and comparisons.

In: an open engine and frames, or a display and a camera. Out: records and pages. `measure` runs
the pipeline; `report` reads what it wrote. Imported by the shell and benchmarks.
"""
