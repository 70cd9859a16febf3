"""A simulated cart: the firmware's application on a pseudo-terminal, with faults on request.

In: bytes of the link and faults by name. Out: what the controller answers. A program of its own
(`python -m firmware_bridge.cart.simcart`), started by `firmware_bridge.cart.connectors`.
"""
