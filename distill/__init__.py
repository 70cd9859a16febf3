"""Frozen teachers, small students, frequency-domain losses, training and evaluation."""
