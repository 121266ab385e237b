"""Measurements that are too long for a test: each prints the figures that the documentation quotes."""
