"""Quantization-aware training, one canonical quantized graph, its engines and their parity."""

import sys

# NNCF imports OpenVINO, and that sends an event to the network wherever it finds this module; without it both take stubs.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # Python's way to say: no such module
