"""System files of a cart computer: services, device names, watchdog, users, update slots."""
