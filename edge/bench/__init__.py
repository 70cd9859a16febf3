"""Latency of a bundle on this machine: measuring, recording as it goes, reports and comparisons."""
