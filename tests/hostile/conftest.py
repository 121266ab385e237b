import lightning.pytorch  # noqa: F401  # first, outside a test: its handler keeps the stderr of that moment
