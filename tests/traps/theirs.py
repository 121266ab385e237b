"""What the trap tests share: the same words, pictures and boxes as transformers takes them and as we do."""

import torch
from torch import Tensor
from transformers import GroundingDinoForObjectDetection, PreTrainedTokenizerFast

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Prompt
from gdino_lightning.training.matcher import Truth

CAPTION = "with mask . without mask . mask worn incorrectly ."  # what the fixture `prompt` holds
BOXES = torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.7, 0.3, 0.1, 0.2]])  # cxcywh_norm
CLASSES = torch.tensor([0, 2])


def token_ids(*captions: str) -> tuple[Tensor, Tensor]:
    """Ids and attention mask of captions, (B, T) int64 each, padded with [PAD] as transformers does."""
    rows = [torch.tensor(nano_tokenizer().encode(caption).ids) for caption in captions]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()


def fast_tokenizer() -> PreTrainedTokenizerFast:
    """The miniature's tokenizer as transformers' processor and folders take it."""
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=nano_tokenizer(), **names)


def picture(seed: int = 0, side: int = 128) -> tuple[Tensor, Tensor]:
    """One square picture of noise that fills its canvas: (1, 3, H, W) pixels and (1, H, W) bool mask."""
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return pixels, torch.ones(1, side, side, dtype=torch.bool)


def picture_of(classes: list[int]) -> Batch:
    """The picture as our module takes it, with a box of `BOXES` for each of two classes."""
    pixels, mask = picture()
    target = Target(0, "noise.png", 128, 128, BOXES, torch.tensor(classes), boxes_px=None)
    return Batch(pixels, mask, [target])


def their_forward(model: GroundingDinoForObjectDetection, seed: int = 0, dtype: torch.dtype = torch.float32):
    """transformers' forward with its own loss, as its documentation has it."""
    labels = [{"class_labels": CLASSES, "boxes": BOXES.to(dtype)}]
    return model(pixel_values=picture(seed)[0].to(dtype), input_ids=token_ids(CAPTION)[0], labels=labels)


def our_truths(prompt: Prompt) -> list[Truth]:
    """The same boxes as `their_forward` has, with every token a negative or a positive."""
    return [Truth(BOXES, prompt.phrase_map[CLASSES], torch.ones(len(prompt.input_ids), dtype=torch.bool))]
