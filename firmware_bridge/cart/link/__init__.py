"""The runtime's side of the cart link: a session without I/O, and the thread that drives it."""
