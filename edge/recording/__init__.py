"""Recordings of sessions: video in segments, what was found beside it, and clips of events.

In: frames with results and fields of view, and events. Out: a folder for each session that is
whole after a power cut but for its last segment. Imported by `edge.pipeline`, `edge.review` and
the shell.
"""
