"""Paired comparisons of trainings and settings over several seeds."""
