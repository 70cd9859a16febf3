"""The errors that libraries raise when a file of weights or its configuration is damaged."""

from __future__ import annotations

import pickle

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    AttributeError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
    StrictDataclassError,
)
