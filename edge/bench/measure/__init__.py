"""Measure latency: streams, sampling, sensors, and the environment guard."""
