"""Where results go: shared memory, video files, JSON lines, a web page.

In: results of the frame loop. `open.open_sinks` reads their descriptions; `base` is their contract.
"""
