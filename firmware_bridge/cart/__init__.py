"""The cart's controller: protocol, link, firmware in C, and a simulated cart."""
