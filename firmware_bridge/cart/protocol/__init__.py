"""The cart's link: messages (`cart.cddl`), their codec and their frames."""
