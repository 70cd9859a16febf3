"""What a cart computer's system needs around the runtime: services, device names, watchdog, users, update slots."""
