"""Updates of carts: trust, slots, bills of materials, and the system image."""
