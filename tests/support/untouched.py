"""A model of transformers as transformers builds it, to compare with."""

import copy

from gdino_lightning.model.detector import HuggingFaceDetector


def untouched(model: HuggingFaceDetector) -> HuggingFaceDetector:
    """Build a twin of a model whose sub-layers may have been replaced: transformers' own, with the same weights."""
    twin = type(model)(copy.deepcopy(model.config))
    twin.load_state_dict(model.state_dict())
    return twin.to(next(model.parameters()).dtype).train(model.training)
