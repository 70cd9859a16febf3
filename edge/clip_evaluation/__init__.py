"""Evaluation of clips: what a surgeon would have seen, against boxes or masks per frame.

In: a bundle, clips, and what is known of their frames. Out: polyps found, false events per minute,
flicker, a page with a time line. Runs the device's own pipeline; imported by the shell and
benchmarks.
"""
