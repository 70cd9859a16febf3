"""Leaf helpers: files, background work, descriptions, plug-ins, extras, the host.

Imports nothing of this project except its errors.
"""
