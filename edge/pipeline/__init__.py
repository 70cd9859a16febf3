"""The device's pipeline from a source to its sinks: the frame loop, its state and its counters."""
