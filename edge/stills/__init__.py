"""Stills: single frames with their masks, black outside the field of view; as files and DICOM.

In: a frame, its result and its field of view, and for a mark what a person found wrong with it.
Out: folders of PNG and JSON, DICOM objects. Imported by `edge.pipeline`, `edge.review` and the
shell.
"""
