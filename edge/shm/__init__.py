"""Shared memory: its layout, a writer, a reader, and the C header for other programs.

In: frames, results and statuses. Out: a segment that other processes read without locks. Imported
by `edge.sinks` and `edge.presenter`.
"""
