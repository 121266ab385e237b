"""Measurements that are too long for a test: each prints the figures that the documentation quotes."""

import gdino_lightning  # noqa: F401  # before all libraries: some would turn to another machine at their import
