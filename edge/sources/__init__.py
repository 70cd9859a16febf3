"""Where frames come from: cameras, clips, folders, GStreamer pipelines, the phantom.

In: a description such as `v4l2:/dev/video0`. Out: `Frame`s with their time stamps.
`open.open_source` reads descriptions; `base` is the contract. Imported by the pipeline, the latency
harness, pseudo-labeling and the shell.
"""
