"""Proof that every engine computes what the quantized student does, and what INT8 costs.

In: the canonical graph, engines, validation frames. Out: parity rows, accuracy rows, the operating
point. Imported by `quantize.bundle`, `quantize.runs` and the shell.
"""
