"""Bundles: a manifest, engines and golden frames, verified as they are read.

In: a directory, a `.difom` file or the name of a shipped bundle. Out: `reader.Bundle`.
Imports no engine and no training code; imported by engines, inference, evaluation and packaging.
"""
