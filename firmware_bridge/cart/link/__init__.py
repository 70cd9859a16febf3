"""The runtime's side of the cart link: a session without I/O, and the thread that drives it.

In: statuses and beats of the frame loop, bytes of a port. Out: messages to the controller, its
reports back. Imported by `firmware_bridge.cart.connectors` and the simulator.
"""
