"""Long runs of the device under injected faults, and the properties that must hold throughout."""
