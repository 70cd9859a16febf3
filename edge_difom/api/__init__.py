"""The functions behind `import edge_difom as ed`; import them from there.

In: paths and plain values. Out: the records of the libraries. Each imports its library when it is
called.
"""
