"""Where results go: shared memory, video files, JSON lines, a web page.

In: results of the frame loop. Out: what other programs and people see. `open.open_sinks` reads
descriptions; `base` is the contract. Imported by the presenter's sink, the latency harness and the
shell.
"""
