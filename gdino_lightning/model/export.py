"""Weights out: a folder that plain transformers loads, with our prompt, thresholds and a model card beside it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import GroundingDinoImageProcessorPil

from gdino_lightning.errors import CheckpointError, listed
from gdino_lightning.model.card import CARD_NAME, CardFacts, ClassRow, ModelFacts, write_card
from gdino_lightning.model.convert.unused import UNUSED_NAME, write_unused
from gdino_lightning.model.detector import Switches
from gdino_lightning.model.final_stop import with_final_stop
from gdino_lightning.model.folder import PROMPT_NAME, EvaluationSettings, SavedPrompt, read_prompt, staged, write_prompt
from gdino_lightning.model.pretrained import Pretrained
from gdino_lightning.prompt import Vocabulary
from gdino_lightning.prompt.blocks import encode_words

# Both families of transformers look for these ids, whatever the tokenizer.
_IDS = {"[PAD]": 0, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
_STOPS = {_IDS["."]: ".", _IDS["?"]: "?"}
_FAMILIES = {"grounding-dino": "Grounding DINO", "mm-grounding-dino": "MM-Grounding-DINO"}
_FILES = {
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    PROMPT_NAME,
    CARD_NAME,
    UNUSED_NAME,
}


def export_hf(loaded: Pretrained, folder: Path, *, source: str, facts: CardFacts | None = None) -> list[str]:
    """Write weights as a Hugging Face folder.

    `AutoModelForZeroShotObjectDetection`, `AutoProcessor` and `pipeline("zero-shot-object-detection")` load it, and
    `load_pretrained` brings the prompt back too. For the same tensors transformers' logits and boxes equal ours, except
    for the phrases that are returned. An older export at the same place is replaced when the new one is complete.

    Args:
        loaded: The weights, plain ones (adapters merged), and what belongs to them.
        folder: To write.
        source: Where the weights came from, as the user gave it.
        facts: What the card shall say; without, only what the weights themselves say.

    Returns:
        Lines for the user: each phrase that plain transformers reads in another way, and why.

    Raises:
        CheckpointError: Plain transformers cannot run the weights, or the folder holds something else.
        OSError: The folder cannot be written.
    """
    facts = facts or CardFacts()
    evaluation = facts.evaluation or _evaluation_of(source)
    _check_architecture(loaded, source)
    _check_tokenizer(loaded.tokenizer, source)
    model = _describe(loaded)
    with staged(folder, _FILES.__contains__) as new:
        try:
            loaded.model.save_pretrained(new, max_shard_size="1TB")
        except SafetensorError as error:
            raise CheckpointError(f"{folder}: the weights could not be written ({error})") from None
        shutil.copymode(new / "config.json", new / "model.safetensors")  # safetensors lets nobody else read its files
        _write_tokenizer(new, loaded.tokenizer, model.max_tokens)
        _write_processor(new, evaluation)
        write_card(new / CARD_NAME, model, facts, evaluation, name=folder.resolve().name, source=source)
        write_unused(new, loaded.unused)
        write_prompt(new, SavedPrompt(loaded.phrases, loaded.thresholds, Switches().architecture, evaluation))
    return _remarks(loaded, model)


def differing_phrases(phrases: Sequence[str], tokenizer: Tokenizer) -> dict[str, str]:
    """Return the phrases that plain transformers reads in another way than we do, each with the reason."""
    reasons = {}
    for phrase in phrases:
        found = [_STOPS[token] for token in dict.fromkeys(encode_words(phrase, tokenizer).ids) if token in _STOPS]
        if found:
            stops = " and ".join(f'"{stop}"' for stop in found)
            reasons[phrase] = f"{stops} in it would end the phrase"
    return reasons


def _check_architecture(loaded: Pretrained, source: str) -> None:
    architecture = loaded.architecture or Switches().architecture
    off = [name for name, on in architecture.items() if not on]
    if off:
        raise CheckpointError(
            f"{source}: was trained without {', '.join(off)}, which transformers cannot switch off: its outputs would "
            "be others; use the checkpoint with gdino-lightning, or train with all parts on"
        )


def _check_tokenizer(tokenizer: Tokenizer, source: str) -> None:
    wrong = [token for token, index in _IDS.items() if tokenizer.token_to_id(token) != index]
    if wrong:
        raise CheckpointError(
            f"{source}: its tokenizer has other ids than bert-base-uncased for {', '.join(wrong)}, by which "
            "transformers tells phrases apart; train from weights with such a tokenizer"
        )


def _describe(loaded: Pretrained) -> ModelFacts:
    config, phrases = loaded.model.config, loaded.phrases or {}
    reasons = differing_phrases(list(phrases.values()), loaded.tokenizer)
    equal = [wording for wording in phrases.values() if wording not in reasons]
    points: dict[str, Any] = loaded.thresholds or {}
    none = [None] * len(phrases)
    rows = [
        ClassRow(name, wording, threshold, nms_iou, reasons.get(wording, ""))
        for (name, wording), threshold, nms_iou in zip(
            phrases.items(), points.get("scores", none), points.get("nms_ious", none), strict=True
        )
    ]
    return ModelFacts(
        family=_FAMILIES[config.model_type],
        millions=sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6,
        num_queries=config.num_queries,
        max_tokens=config.max_text_len,
        classes=rows,
        together=Vocabulary(equal, loaded.tokenizer).chunks(config.max_text_len)[0].phrases if equal else (),
    )


def _remarks(loaded: Pretrained, model: ModelFacts) -> list[str]:
    lines = [
        f"plain transformers reads {row.wording!r} (class {row.name}) in another way: {row.reason}"
        for row in model.classes
        if row.reason
    ]
    tokens = Vocabulary([row.wording for row in model.classes], loaded.tokenizer).num_tokens()
    if tokens > model.max_tokens:
        fitting = listed(repr(phrase) for phrase in model.together[-1:])
        lines.append(
            f"plain transformers takes prompts of {model.max_tokens} tokens, all phrases together need {tokens}: the "
            f"card asks for the {len(model.together)} that fit, up to {fitting}"
        )
    return lines


def _evaluation_of(source: str) -> EvaluationSettings:
    """Return what a folder of ours says, else what Grounding DINO was published with."""
    saved = read_prompt(Path(source))
    return saved.evaluation if saved else EvaluationSettings()


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, max_tokens: int) -> None:
    """Write tokenizer.json and tokenizer_config.json for the class that takes the former as it is."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    _write_json(folder / "tokenizer.json", json.loads(with_final_stop(tokenizer).to_str()))
    _write_json(folder / "tokenizer_config.json", config)


def _write_processor(folder: Path, evaluation: EvaluationSettings) -> None:
    """Write preprocessor_config.json; its class name stands for the torchvision and the Pillow variant alike."""
    size = {"shortest_edge": evaluation.short_side, "longest_edge": evaluation.long_side_max}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
