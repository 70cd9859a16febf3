"""Export of the canonical graph to OpenVINO IR, TFLite and ONNX, with the same integers in each.

In: `quantize.graph.canonical.Canonical`. Out: engine files as bytes. Imported by the other packages
of `quantize`, benchmarks and the shell.
"""
