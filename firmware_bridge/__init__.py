"""Everything between the program and the cart, and whether a bundle fits a machine."""
