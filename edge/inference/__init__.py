"""Run the student in a separate process, so that a hang or crash never stops the frame loop.

In: a bundle store and frames. Out: score maps, or an `InferenceFault`. `supervisor` is the face.
Imported by `edge.pipeline` and the shell.
"""
