"""Journal, counters and Prometheus metrics of a running device."""
