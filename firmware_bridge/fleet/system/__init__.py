"""System files of a cart computer: services, device names, watchdog, users, update slots.

In: the settings of a cart computer. Out: files below a root folder, and what they would change.
Imported by the shell alone.
"""
