"""What keeps carts up to date: trust, slots, bills of materials, the system image."""
