"""The device's pipeline from a source to its sinks: the frame loop, its state and its counters.

In: a source, sinks and a bundle store (`device.open_device`). Out: results at the sinks, and the
statistics of the run. Imported by `edge.bench`, `edge.clip_evaluation`, `edge.prediction` and the
shell.
"""
