"""Quantization-aware training: quantizers placed, calibrated and fine-tuned.

In: a trained student. Out: the same student under NNCF's fake quantizers. Imported by
`quantize.runs`, `quantize.certify`, `quantize.export` and benchmarks.
"""
