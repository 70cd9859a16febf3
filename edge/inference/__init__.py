"""Run the student in a separate process, so that a hang or crash never stops the frame loop."""
