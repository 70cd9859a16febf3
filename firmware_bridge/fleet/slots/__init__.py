"""The bundles of a device: two slots, a trial with counted starts, an audit log."""
