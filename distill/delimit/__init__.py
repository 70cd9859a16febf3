"""Detectors and delineators that need torch (`edge.evaluation.delimit`)."""
