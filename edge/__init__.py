"""The device library: bundles, engines, camera pipeline, evaluation, latency harness.

In: bundles, and frames of a source or folders of labeled images. Out: masks, records and reports.
Imports numpy, OpenCV and optional packages, never torch or another package of this project;
imported by all of them.
"""

__version__ = "0.1.0"
