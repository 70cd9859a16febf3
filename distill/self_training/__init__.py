"""Frames without masks: an ensemble of trained students labels those of which it is sure."""
