"""The spectral loss: two student maps against the low and the high band of a teacher's map.

`reference` says what it computes, `cpu` and `triton_*` are fast, `loss` picks the fastest that
fits. Imports torch alone; imported by `distill.losses` and `distill.recipes`.
"""
