"""Who made a bundle: a TUF repository in a plain folder, and what a device believes of it."""
