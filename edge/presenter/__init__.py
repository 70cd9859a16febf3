"""The presenter: a process of its own that shows the overlay, and clears it when nothing is heard any more."""
