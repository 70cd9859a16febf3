"""Paired comparisons of trainings and settings over several seeds.

In: data folders, or clips. Out: records with intervals. Each module with a command is a program of
its own, such as `python -m benchmarks.studies.systems`.
"""
