"""Fine-tune Grounding DINO on your own objects, with PyTorch Lightning."""

import os

__version__ = "0.1.0"

# Libraries that turn to another machine unasked, some as soon as they are imported, so this is the place:
# albumentations looks for a newer version; onnxruntime (from 1.29) and the hub's client tell their makers of their use.
for _silence in ("NO_ALBUMENTATIONS_UPDATE", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_silence, "1")
