"""The bundles of a device: two slots, a trial with counted starts, an audit log.

In: a device's state folder and offers of `firmware_bridge.fleet.trust`. Out: a `BundleStore` for
the supervisor, installed bundles. Imported by the shell alone.
"""
