"""A device that runs for long while faults are injected, and what must hold all the while."""
