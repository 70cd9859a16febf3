"""Drawing: regions, state icons and text on a frame or on a transparent layer.

In: results and statuses. Out: pixels. Imported by `edge.sinks` and `edge.presenter`.
"""
