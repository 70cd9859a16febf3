"""Updates of carts: trust, slots, bills of materials, and the system image.

In: bundles and a publisher's keys. Out: signed repositories, installed slots, system files.
Imports `edge` and `firmware_bridge.fit`; imported by the shell.
"""
