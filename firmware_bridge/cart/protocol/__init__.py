"""The protocol of the cart link: messages (`cart.cddl`), their codec and their framing."""
