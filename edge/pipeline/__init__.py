"""The device's way from a source to its sinks: the frame loop, its state and what it counts."""
