"""Latency of a bundle on this machine: measurement, records, reports and comparisons."""
