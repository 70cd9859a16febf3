"""One module per runtime, each behind the `Engine` protocol of `edge.contracts`.

In: a bundle or engine files. Out: an open engine that turns a picture into a score map.
Only this package imports a runtime; `open` chooses, `golden_check` compares with golden frames.
Imported by inference, evaluation, the latency harness, certification and the shell.
"""
