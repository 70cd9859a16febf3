"""Compare this project with other runtimes, each in a separate process, in one interleaved run.

In: an engine and the environments of its peers. Out: a record of latencies and accuracy. A program
of its own: `python -m benchmarks.peers`.
"""
