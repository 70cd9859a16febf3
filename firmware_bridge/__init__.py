"""Everything between the program and the cart, and whether a bundle fits a machine.

In: bundles, and what the program reports to the cart's controller. Out: a cart link, signed
repositories, installed slots, system files. Imports `edge` alone; imported by the shell.
"""
