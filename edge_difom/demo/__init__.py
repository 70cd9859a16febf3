"""`edge-difom demo`: the whole path on the built-in phantom.

In: a folder and a length of training. Out: a bundle, a clip with its overlay, a page and a record.
Imported by `edge_difom.cli.demo` alone.
"""
