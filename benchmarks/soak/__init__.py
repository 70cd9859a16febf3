"""Long runs of the device under injected faults, and the properties that must hold throughout.

In: a bundle and a protocol of faults. Out: a record of checks. A program of its own:
`python -m benchmarks.soak`.
"""
