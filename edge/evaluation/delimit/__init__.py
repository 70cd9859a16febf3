"""Detect, then delimit: a detector proposes boxes, a delineator draws a mask for each of them.

Any detector goes with any delineator, so that an error is attributed to the one or to the other.
"""
