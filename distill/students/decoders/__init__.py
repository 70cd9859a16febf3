"""Decoders of the students whose encoder gives maps at strides 4 to 32.

In: an encoder's maps by name. Out: `base.Decoded`. A new decoder is a module here and a line of
`build.DECODERS`. Imported by `distill.students`.
"""
