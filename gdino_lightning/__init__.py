"""Fine-tune Grounding DINO on your own objects, with PyTorch Lightning."""

__version__ = "0.1.0"
