"""Stills: single frames with their masks, black outside the field of view; as files and DICOM.

In: a frame, its result and its field of view. Out: folders of PNG and JSON, DICOM objects.
Imported by `edge.pipeline` and the shell.
"""
