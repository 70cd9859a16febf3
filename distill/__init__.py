"""Frozen teachers, small students, frequency-domain losses, training and evaluation."""

import os

# torch reads this when it first allocates: activations of hundreds of megabytes on pages of 2 MiB spare the faults
# on pages of 4 KiB, which took a third of a training step on a CPU.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
