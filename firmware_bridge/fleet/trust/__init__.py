"""Trust in publishers: a TUF repository in a plain folder, and a device's trusted metadata.

In: bundles and keys, or a repository and a device's root of trust. Out: signed metadata, offers of
verified bundles. Imported by `firmware_bridge.fleet.slots` and the shell.
"""
