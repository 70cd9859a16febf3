"""The folder of a quantization, RUN/qat8 or RUN/qat4: training, record, report.

In: a run of `distill` and a `QatConfig`. Out: checkpoints and reports; `folder.load_quantized`
opens them for export and bundles. Imported by `quantize.bundle`, benchmarks and the shell.
"""
