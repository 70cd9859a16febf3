"""Shared memory: its layout, a writer, a reader, and the C header for other programs.

Imported by `edge.sinks` and `edge.presenter`.
"""
