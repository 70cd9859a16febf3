"""Trust in publishers: a TUF repository in a plain folder, and a device's trusted metadata."""
