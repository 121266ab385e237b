"""What there is to know of a prepared dataset before it is trained on: look, find, survey."""
