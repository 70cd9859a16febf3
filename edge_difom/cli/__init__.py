"""The command line: one module for each verb, imported when the verb is called.

In: arguments. Out: console lines, files and exit codes. `main` has the table of verbs, `options`
the shared options, `hints` the hints that name them. Imported by `edge_difom.__main__`; the
benchmarks and the demo print through its `console`.
"""
