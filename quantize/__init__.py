"""Quantization-aware training, one canonical quantized graph, its engines and their parity."""
