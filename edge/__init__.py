"""edge-difom's device library: bundles, engines, camera pipeline, evaluation, latency harness."""

__version__ = "0.1.0"
