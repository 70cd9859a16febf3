"""The student in a process of its own, which may hang or die without taking the frame loop with it."""
