"""A simulated cart: the firmware's application on a pseudo-terminal, with faults on request."""
