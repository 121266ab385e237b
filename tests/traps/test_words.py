"""The traps of transformers' words: HF6, HF7, HF9, HF10, HF18.

Each test shows the trap in the installed transformers first, then that the same input is right here.
"""

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
)
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoObjectDetectionOutput,
    build_label_maps,
    generate_masks_with_special_tokens_and_transfer_map,
)

from gdino_lightning.inference.postprocess import postprocess
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano import WIDTH, nano_config, random_nano
from gdino_lightning.model.nano.tokenizer import CLS_ID, PAD_ID, SEP_ID, nano_tokenizer
from gdino_lightning.prompt import Caption, PromptBatch, Vocabulary, build_caption_prompt, build_prompt
from gdino_lightning.training.module import GroundingDinoModule
from tests.traps.theirs import fast_tokenizer, picture, picture_of, token_ids


def their_mask(ids: torch.Tensor) -> torch.Tensor:
    """Who sees whom by transformers, (T, T) bool."""
    special = random_nano().model.special_tokens
    return generate_masks_with_special_tokens_and_transfer_map(ids, special)[0][0]


def test_hf06_a_delimiter_finds_nothing_and_two_classes_are_two_detections():
    """Query 0 says only "."; query 1 says "mask" and "hat"."""
    prompt = build_prompt(["mask", "hat"], nano_tokenizer())
    ids, _ = token_ids("mask . hat .")
    assert torch.equal(prompt.input_ids, ids[0])
    logits = torch.full((1, 2, ids.shape[1]), -9.0)
    logits[0, 0, 2] = 5.0
    logits[0, 1, [1, 3]] = torch.tensor([3.0, 4.0])
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]])
    padded = torch.nn.functional.pad(logits, (0, 256 - ids.shape[1]), value=-torch.inf)
    outputs = GroundingDinoObjectDetectionOutput(logits=padded, pred_boxes=boxes, input_ids=ids)
    processor = GroundingDinoProcessor(GroundingDinoImageProcessorPil(), fast_tokenizer())
    (theirs,) = processor.post_process_grounded_object_detection(outputs)
    assert theirs["text_labels"] == [".", "mask hat"]
    assert theirs["scores"][0] == theirs["scores"].max()

    (found,) = postprocess(logits, boxes, prompt.phrase_map, [(100, 100)], score_threshold=0.25)
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx(torch.tensor([4.0, 3.0]).sigmoid().tolist())
    assert found.boxes.tolist() == [pytest.approx([50, 50, 100, 100])] * 2


def test_hf07_phrases_do_not_leak_into_one_another_and_eager_attention_is_refused():
    def with_mask_beside(model: GroundingDinoForObjectDetection, other: str) -> torch.Tensor:
        ids, _ = token_ids(f"with mask . {other} .")
        mask, positions = generate_masks_with_special_tokens_and_transfer_map(ids, model.model.special_tokens)
        return model.model.text_backbone(ids, mask[:, None], torch.zeros_like(ids), positions).last_hidden_state[0, 1:4]

    config = nano_config()
    config.text_config._attn_implementation = "eager"
    torch.manual_seed(0)
    eager = GroundingDinoForObjectDetection(config).eval()
    with torch.no_grad():
        leak = (with_mask_beside(eager, "hat") - with_mask_beside(eager, "dog")).abs().max()
    assert leak > 1e-3
    with pytest.raises(ValueError, match="sdpa"):
        GroundingDetector(eager)

    detector = GroundingDetector(random_nano()).eval()
    with torch.no_grad():
        prompts = [build_prompt(["with mask", other], nano_tokenizer()) for other in ("hat", "dog")]
        beside = [detector.encode_text(PromptBatch.of([prompt])).features[0, 1:4] for prompt in prompts]
    assert torch.allclose(*beside, atol=1e-6)


def test_hf09_more_than_256_tokens_detect_and_train():
    names = [
        f"{color} {thing} {number}" for color in ("red", "blue") for thing in ("cup", "hat") for number in range(60)
    ]
    ids, _ = token_ids(" . ".join(names) + " .")
    assert ids.shape[1] > 256
    with pytest.raises(RuntimeError, match="must match the size"):
        random_nano()(pixel_values=picture()[0], input_ids=ids)

    prompts = Vocabulary(names, nano_tokenizer()).chunks(256)
    assert max(len(prompt.input_ids) for prompt in prompts) <= 256
    assert sorted(index for prompt in prompts for index in prompt.classes) == list(range(len(names)))
    module = GroundingDinoModule(names, weights="nano-random", top_k=100 * len(names))
    batch = picture_of(classes=[3, 170])
    with torch.no_grad():
        (found,) = module.detect(batch)
    pairs = module.detector.model.config.num_queries * len(names)
    assert len(found) == pairs  # every query has a score for every class, whichever chunk it is in
    assert found.labels.bincount().tolist() == [module.detector.model.config.num_queries] * len(names)

    (question,) = module.questioner.for_training(batch, seed=0, epoch=0).questions
    (asked,) = question.prompts.prompts
    assert {3, 170} <= set(asked.classes)
    assert len(asked.input_ids) <= 256
    losses = module.objective(module.detector, module.questioner.for_training(batch, seed=0, epoch=0))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert module.detector.model.model.text_projection.weight.grad.any()


def test_hf10_a_phrase_with_a_stop_stays_one_phrase():
    phrases = ["no. 1 part", "red ? hat", "dog"]
    ids, _ = token_ids(" . ".join(phrases) + " .")
    (theirs,) = build_label_maps(torch.zeros(1, 1, 256), ids)
    assert len(theirs) == 5  # two stops more: "dog" has become label 4
    prompt = build_prompt(phrases, nano_tokenizer())
    assert torch.equal(prompt.input_ids, ids[0])
    assert prompt.phrase_map.sum(1).tolist() == [4, 3, 1]
    first = slice(1, 6)  # "no", ".", "1", "part" and the delimiter
    assert not their_mask(ids)[first, first].all()
    assert prompt.self_attention_mask[first, first].all()
    assert not prompt.self_attention_mask[first, 6:].any()
    assert prompt.position_ids[first].tolist() == [0, 1, 2, 3, 4]


def test_hf10_a_text_without_a_final_stop_is_still_read_together():
    ids, _ = token_ids("a red hat")
    assert torch.equal(their_mask(ids), torch.eye(ids.shape[1], dtype=torch.bool))
    for prompt in (
        build_prompt(["a red hat"], nano_tokenizer()),
        build_caption_prompt(Caption("a red hat", (((0, 9),),)), nano_tokenizer()),
    ):
        assert prompt.phrase_map[0].nonzero().flatten().tolist() == [1, 2, 3]
        assert prompt.self_attention_mask[1:4, 1:4].all()


def test_hf18_the_mask_does_not_depend_on_the_tokenizers_ids():
    """The same words and pieces under other ids."""
    pieces = ["a", "red", "hat", ".", "dog", "[SEP]", "[UNK]", "[CLS]", "[PAD]"]
    vocabulary = {piece: 200 + index for index, piece in enumerate(pieces)}
    other = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    other.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    other.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    phrases = ["a red hat", "dog"]
    theirs = their_mask(torch.tensor([other.encode("a red hat . dog .").ids]))
    assert torch.equal(theirs, torch.eye(len(theirs), dtype=torch.bool))  # nobody sees anybody

    usual, moved = build_prompt(phrases, nano_tokenizer()), build_prompt(phrases, other)
    assert not torch.equal(usual.input_ids, moved.input_ids)
    assert torch.equal(usual.self_attention_mask, moved.self_attention_mask)
    assert torch.equal(usual.position_ids, moved.position_ids)
    assert torch.equal(usual.phrase_map, moved.phrase_map)


def test_hf18_the_miniature_fits_what_transformers_assumes():
    with pytest.raises(ValueError, match="divisible"):
        GroundingDinoForObjectDetection(GroundingDinoConfig(**{**nano_config().to_dict(), "d_model": 48}))
    assert WIDTH % 32 == 0
    encoded = nano_tokenizer().encode("hat . red ?")
    assert (PAD_ID, CLS_ID, SEP_ID) == (0, 101, 102)
    assert [encoded.ids[i] for i in (0, 2, 4, 5)] == [101, 1012, 1029, 102]
