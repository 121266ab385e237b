"""What a table of names is made of: rows that say which tensor of theirs becomes which of ours, and how."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gdino_lightning.model.convert.sizes import Sizes

MODEL_NAMES = ("weight", "bias")
SWIN = "model.backbone.conv_encoder.model.swin"  # ours, as transformers calls it
STAGE_NORMS = "model.backbone.conv_encoder.model.hidden_states_norms"
TEXT = "model.text_backbone"
ATTENTION = ("query", "key", "value")


@dataclass(frozen=True)
class Change:
    """How one tensor of theirs becomes one or more of ours, and back without losing a bit.

    Attributes:
        split: Theirs -> ours, in the order of `Row.ours`.
        join: Ours -> theirs.
    """

    split: Callable[[Tensor], Sequence[Tensor]]
    join: Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        theirs: A name in their state dict.
        ours: The names in transformers' state dict that its values go to.
        change: What happens to the values on the way.
    """

    theirs: str
    ours: tuple[str, ...]
    change: Change


@dataclass(frozen=True)
class Naming:
    """The names that one program gives to the tensors of a Grounding DINO.

    Attributes:
        program: What the program is called in messages.
        mark: A tensor that every model has and only this program calls so.
        layers: Regular expressions that `Sizes` are counted by, by the field's name.
        rows: Writes the table out for a model's sizes.
        unused: Regular expression of names that detection does not use -> the reason.
        window_index: Regular expression of Swin's index buffers, which follow from the window's size.
    """

    program: str
    mark: str
    layers: Mapping[str, str]
    rows: Callable[[Sizes], Iterator[Row]]
    unused: Mapping[str, str]
    window_index: str


def _permuted(tensor: Tensor, order: tuple[int, int]) -> Tensor:
    """Reorder the last dimension, seen as a table of `order` rows and columns, column by column."""
    return tensor.reshape(*tensor.shape[:-1], *order).transpose(-1, -2).flatten(-2)


def _unfold_to_slices(tensor: Tensor) -> Tensor:
    """Reorder what patch merging reads from "channel, row, column" to "column, row, channel".

    MMDetection gathers each 2 x 2 patch with `nn.Unfold`; Swin's own code and transformers stack four slices.
    """
    return _transposed_patch(_permuted(tensor, (tensor.shape[-1] // 4, 4)))


def _slices_to_unfold(tensor: Tensor) -> Tensor:
    return _permuted(_transposed_patch(tensor), (4, tensor.shape[-1] // 4))


def _transposed_patch(tensor: Tensor) -> Tensor:
    """Swap rows and columns of the 2 x 2 patches in the last dimension, where channels come last."""
    return tensor.reshape(*tensor.shape[:-1], 2, 2, -1).transpose(-3, -2).flatten(-3)


SAME = Change(lambda theirs: (theirs,), lambda ours: ours[0])
STACKED = Change(
    lambda theirs: theirs.chunk(3), lambda ours: torch.cat(list(ours))
)  # query, key and value are one matrix there
SHARED = Change(lambda theirs: (theirs, theirs), lambda ours: ours[0])  # one head there has two names here
UNFOLDED = Change(lambda theirs: (_unfold_to_slices(theirs),), lambda ours: _slices_to_unfold(ours[0]))


def same(theirs: str, ours: str, parts: Sequence[str] = MODEL_NAMES) -> Iterator[Row]:
    """Rows of a module that both have: its weight and bias."""
    for part in parts:
        yield Row(f"{theirs}.{part}", (f"{ours}.{part}",), SAME)


def renamed(theirs: str, ours: str, modules: Mapping[str, str]) -> Iterator[Row]:
    """Rows of the modules inside a layer."""
    for their_module, our_module in modules.items():
        yield from same(f"{theirs}.{their_module}", f"{ours}.{our_module}")


def stacked(theirs: str, ours: str, names: Sequence[str] = ATTENTION, joint: str = "") -> Iterator[Row]:
    """Rows of a matrix and bias that hold query, key and value.

    Args:
        theirs: Their module, up to where "weight" and "bias" follow.
        ours: Our attention module.
        names: Our three linear layers.
        joint: What stands between `theirs` and "weight" ("." or "_").
    """
    for part in MODEL_NAMES:
        yield Row(f"{theirs}{joint}{part}", tuple(f"{ours}.{name}.{part}" for name in names), STACKED)


def bert_rows(theirs: str, layers: int) -> Iterator[Row]:
    """Rows of the text encoder: all three programs keep the names of transformers' BERT."""
    embeddings = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    for name in embeddings:
        yield from same(f"{theirs}.embeddings.{name}", f"{TEXT}.embeddings.{name}", ("weight",))
    yield from same(f"{theirs}.embeddings.LayerNorm", f"{TEXT}.embeddings.LayerNorm")
    modules = [f"attention.self.{name}" for name in ATTENTION]
    modules += ["attention.output.dense", "attention.output.LayerNorm", "intermediate.dense"]
    modules += ["output.dense", "output.LayerNorm"]
    for index in range(layers):
        layer = f"encoder.layer.{index}"
        yield from renamed(f"{theirs}.{layer}", f"{TEXT}.{layer}", dict(zip(modules, modules, strict=True)))


def fusion_rows(theirs: str, ours: str) -> Iterator[Row]:
    """Rows of one feature enhancer's fusion: the official names, which MMDetection keeps."""
    yield Row(f"{theirs}.gamma_v", (f"{ours}.vision_param",), SAME)
    yield Row(f"{theirs}.gamma_l", (f"{ours}.text_param",), SAME)
    modules = {"layer_norm_v": "layer_norm_vision", "layer_norm_l": "layer_norm_text"}
    modules |= {"attn.v_proj": "attn.vision_proj", "attn.l_proj": "attn.text_proj"}
    modules |= {"attn.values_v_proj": "attn.values_vision_proj", "attn.values_l_proj": "attn.values_text_proj"}
    modules |= {"attn.out_v_proj": "attn.out_vision_proj", "attn.out_l_proj": "attn.out_text_proj"}
    yield from renamed(theirs, ours, modules)


def sampling_rows(theirs: str, ours: str) -> Iterator[Row]:
    """Rows of a deformable attention, whose parts have the same names everywhere."""
    for module in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
        yield from same(f"{theirs}.{module}", f"{ours}.{module}")
