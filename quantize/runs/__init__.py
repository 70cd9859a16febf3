"""The folder of a quantization, RUN/qat8 or RUN/qat4: training, record, report."""
