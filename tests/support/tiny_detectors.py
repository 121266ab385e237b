"""Detectors of both families with so few layers that they export in seconds."""

import torch
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
)

from gdino_lightning.model.detector import HuggingFaceDetector
from gdino_lightning.model.nano import nano_config

FAMILIES = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


def tiny(family: str, **settings: object) -> HuggingFaceDetector:
    """A detector with few layers and every weight off its initial value."""
    plain = {k: v for k, v in nano_config().to_dict().items() if k not in ("model_type", "architectures")}
    plain |= {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 30, **settings}
    plain["backbone_config"] |= {"depths": [1, 2, 1, 1]}  # both kinds of windows
    config, model_class = FAMILIES[family]
    torch.manual_seed(0)
    model = model_class(config(**plain))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).uniform_(-0.03, 0.03))
    return model.eval()
