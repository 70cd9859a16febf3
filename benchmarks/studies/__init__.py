"""Paired trainings and settings compared over several seeds."""
