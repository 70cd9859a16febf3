"""The training loop: one-cycle AdamW, validation chooses, a killed run resumes bit for bit.

In: a `DistillConfig`. Out: a run folder with checkpoints and metrics (`distill.run_folder`).
Imported by pseudo-labeling, `quantize`, benchmarks and the shell.
"""
