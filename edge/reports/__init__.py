"""HTML pages and plots, from Jinja templates and matplotlib (extra `report`).

In: records. Out: text of pages and figures. Imported by whatever makes a report: the latency
harness, evaluations, benchmarks and the demo.
"""
