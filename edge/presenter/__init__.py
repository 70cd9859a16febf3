"""The presenter: a separate process that shows the overlay, or NO NEWS if nothing is published.

In: the name of a shared memory segment. Out: a window. Started by the sink `window`
(`window_sink`); no module outside imports it by name.
"""
