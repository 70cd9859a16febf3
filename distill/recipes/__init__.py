"""What a training run minimizes: a student and what its teachers need beside it, as one module.

In: a student, its configuration, teachers' channels. Out: an `Objective` whose `forward` gives losses.
Imported by `distill.train` and `quantize.qat`.
"""
