"""What a user can get wrong: every error names the file (and line), what is wrong, and the fix."""


class GdinoError(Exception):
    """Base of every error that bad input causes; the command line prints its text and exits with 2."""


class DatasetError(GdinoError):
    """An annotation, a picture, a table or a split cannot be used."""


class PromptError(GdinoError):
    """Class names, wordings or captions cannot be turned into a prompt."""


class CheckpointError(GdinoError):
    """Weights or checkpoints are missing, damaged or of another model."""


class ConfigError(GdinoError):
    """A setting contradicts another one or cannot be met."""
