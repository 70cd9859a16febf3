"""The runtime's side of the cart's link: a session without input or output, and a thread that gives it both."""
