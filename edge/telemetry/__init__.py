"""Journal, counters and Prometheus metrics of a running device.

In: events, frames and statuses of the loop. Out: lines in a journal, a metrics file or port.
Imported by `edge.pipeline`.
"""
