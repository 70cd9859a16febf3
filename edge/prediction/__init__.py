"""Masks, contours and areas of single images.

In: an open bundle and images. Out: a `Prediction` per image, or a folder of files that other
programs read. Imports no torch; may be imported by the shell.
"""
