"""The presenter: a separate process that shows the overlay, or NO NEWS if nothing is published."""
