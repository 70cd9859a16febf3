"""Quantization-aware training: quantizers placed, calibrated and fine-tuned.

In: a trained student. Out: the same student under NNCF's fake quantizers.
"""
