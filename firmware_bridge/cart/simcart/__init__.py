"""The cart's controller without a cart: the firmware's own application on a pseudo-terminal, with faults to order."""
