"""Puts leaner forms of some sub-layers into a transformers model: same weights under the same names, same numbers."""

from torch import nn

from gdino_lightning.model.deformable import DeformableAttention, DeformableLayer
from gdino_lightning.model.fusion import FusionAttention
from gdino_lightning.model.swin import WindowMLP

# by the end of the name: both families have these classes, each its own
_LEAN = {
    "GroundingDinoMultiscaleDeformableAttention": DeformableAttention,
    "GroundingDinoDeformableLayer": DeformableLayer,
    "GroundingDinoBiMultiHeadAttention": FusionAttention,
    "SwinMLP": WindowMLP,
}


def make_lean(module: nn.Module, *, triton: bool = False) -> None:
    """Replace sub-layers in place, the inner ones first; what is lean already stays.

    Args:
        module: A transformers model, or a part of one.
        triton: As in `Switches`.
    """
    for name, child in list(module.named_children()):
        make_lean(child, triton=triton)
        for ending, lean in _LEAN.items():
            if type(child).__name__.endswith(ending):
                replacement = lean(child)
                replacement.training = child.training
                setattr(module, name, replacement)
    for child in module.children():
        if isinstance(child, DeformableAttention):
            child.triton = triton
