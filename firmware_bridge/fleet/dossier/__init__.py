"""The dossier of a bundle: one signed archive of its evidence, with front pages for readers.

In: a bundle, the records of its evaluation, latency and verification, a bill of materials, the
publisher's keys. Out: the archive, and the outcome of a check. Imported by the shell.
"""
