"""Stills: a frame as it was shown with exactly its own mask, black outside the field of view; files and DICOM."""
