"""The protocol of the cart link: messages (`cart.cddl`), their codec and their framing.

In: messages, or bytes of a port. Out: the other of the two. Imported by the link and the simulator.
"""
