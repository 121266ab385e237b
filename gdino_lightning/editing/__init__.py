"""Guided editing: boxes become a mask, what is under it is filled, everything else keeps its bytes."""
