"""What can be told of a frame without a student: whether it is fit for one, and where the endoscope's view lies."""
