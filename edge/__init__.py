"""edge-difom on the device: bundle, engines, camera pipeline, latency harness, command line."""

__version__ = "0.1.0"
