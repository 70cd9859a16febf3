"""Leaf helpers: files, background work, descriptions, plug-ins, extras, the host.

In: plain values. Out: plain values. Imports nothing of this project except its errors; imported by
every package.
"""
