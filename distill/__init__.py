"""Frozen teachers, small students, frequency-domain losses, training and evaluation."""

import os

# torch reads this at its first allocation. Activations of hundreds of megabytes on pages of 2 MiB
# avoid the faults of 4 KiB pages, which took a third of a training step on a CPU.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
