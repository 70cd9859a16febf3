"""Leaf helpers: files, background work, extras, the host. Imports nothing of this project but errors."""
