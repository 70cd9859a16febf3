"""The software that a device runs with a bundle, as a bill of materials and as a table."""
