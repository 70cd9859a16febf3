"""Recipes: a student and what its teachers need besides it, as one module that training minimizes.

In: a student, its configuration, teachers' channels. Out: an `Objective` whose `forward` gives
losses. Imported by `distill.train` and `quantize.qat`.
"""
