"""Measuring latency: streams, sampling, sensors, and the guard over the machine."""
