"""The command line verbs of the device."""
