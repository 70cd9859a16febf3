"""Stills: single frames with their masks, black outside the field of view; as files and DICOM."""
