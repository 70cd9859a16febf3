"""The cart's controller: protocol, link, firmware in C, and a simulated cart.

In: the program's state. Out: heartbeats and leases to the controller; pedals and its events back.
Imports contracts and helpers of `edge`; imported by the shell.
"""
