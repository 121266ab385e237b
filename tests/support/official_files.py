"""A small Grounding DINO as the official code would have saved it: every number can be read off its shapes."""

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, MMGroundingDinoConfig

from gdino_lightning.model.convert.write import official_state
from gdino_lightning.model.nano import nano_config
from gdino_lightning.model.nano.tokenizer import nano_tokenizer, vocabulary
from gdino_lightning.model.pretrained import Pretrained


def small_config(*, mm: bool = False) -> GroundingDinoConfig | MMGroundingDinoConfig:
    """Nano, but with a text encoder as wide as the smallest published BERT."""
    config = nano_config().to_dict()
    config["text_config"] = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    ).to_dict()
    config["backbone_config"] = config["backbone_config"] | {"window_size": 7}
    config.pop("model_type")
    if mm:
        return MMGroundingDinoConfig(**config | {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False})
    return GroundingDinoConfig(**config)


def random_model(seed: int = 0) -> GroundingDinoForObjectDetection:
    """The model with every weight moved off its initial value."""
    torch.manual_seed(seed)
    return moved(GroundingDinoForObjectDetection(small_config()))


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """Move every weight off its initial value; Swin's last norm stays, no other program has it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".swin.layernorm." not in name:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


def official_tensors(model: GroundingDinoForObjectDetection) -> dict[str, Tensor]:
    """The model's tensors by official names, with those of the released files that nobody reads."""
    width = model.config.text_config.hidden_size
    state, _ = official_state(Pretrained(model, nano_tokenizer()))
    return state | {
        "label_enc.weight": torch.randn(11, model.config.d_model),
        "bert.pooler.dense.weight": torch.randn(width, width),
        "bert.pooler.dense.bias": torch.randn(width),
        "bert.embeddings.position_ids": torch.arange(256)[None],
    }


def write_words(folder: Path) -> None:
    """Put the tokenizer beside a file of weights."""
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(nano_tokenizer().to_str())))


def same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Equal names, types and bits."""
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)
