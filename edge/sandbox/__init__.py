"""What a process that parses untrusted models and pictures may ask of the kernel.

In: paths that were handed over. Out: which parts of the sandbox this kernel applied.
"""
