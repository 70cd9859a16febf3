"""What a device runs with a bundle, as a software bill of materials and as a table."""
