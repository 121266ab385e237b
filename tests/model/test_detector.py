"""The stages against transformers' own forward on the same tensors and weights, and what must never change outputs."""

import pytest
import torch
from pictures import pictures, relative_error
from transformers import MMGroundingDinoConfig, MMGroundingDinoForObjectDetection
from untouched import untouched

from gdino_lightning.errors import PromptError
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.nano import nano_config, random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import PromptBatch, Vocabulary, build_prompt

TOKENIZER = nano_tokenizer()
ANIMALS = Vocabulary(["cat", "St. Bernard", "red bird", "fish", "without mask", "with mask"], TOKENIZER)


def mm_model() -> MMGroundingDinoForObjectDetection:
    settings = {k: v for k, v in nano_config().to_dict().items() if k not in ("model_type", "architectures")}
    torch.manual_seed(0)
    model = MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=["grounding-dino", "mm-grounding-dino"])
def either(request, detector):
    return detector if request.param == "grounding-dino" else GroundingDetector(mm_model()).eval()


def assert_equal_to_transformers(detector, prompts: PromptBatch) -> None:
    pixels, mask = pictures()
    tokens = prompts.token_mask.shape[1]
    ids = torch.zeros(2, tokens, dtype=torch.int64)
    for b, prompt in enumerate(prompts.prompts):
        ids[b, : len(prompt.input_ids)] = prompt.input_ids
    with torch.no_grad():
        ours = detector(pixels, mask, prompts)
        answered = detector.answer(detector.encode_image(pixels, mask), prompts)
        theirs = untouched(detector.model)(
            pixel_values=pixels, pixel_mask=mask.long(), input_ids=ids, attention_mask=prompts.token_mask.long()
        )
    assert relative_error(ours.final_logits, theirs.logits[..., :tokens]) <= 1e-5
    assert relative_error(ours.final_boxes, theirs.pred_boxes) <= 1e-5
    assert torch.equal(answered[0], ours.final_logits)
    assert torch.equal(answered[1], ours.final_boxes)
    # the encoder stage: transformers keeps all proposals, ours are its best ones
    best = theirs.enc_outputs_class.amax(-1).topk(ours.logits.shape[2], dim=1).indices
    wanted = theirs.enc_outputs_class.gather(1, best[..., None].expand(-1, -1, 256))[..., :tokens]
    assert relative_error(ours.logits[0], wanted) <= 1e-5
    coordinates = theirs.enc_outputs_coord_logits.gather(1, best[..., None].expand(-1, -1, 4)).sigmoid()
    assert relative_error(ours.boxes[0], coordinates) <= 1e-5


def test_a_shared_prompt_equals_transformers(either, prompt):
    assert_equal_to_transformers(either, PromptBatch.of([prompt]).expand(2))


def test_different_prompts_in_one_batch_equal_transformers(either):
    # phrases without "." or "?": there transformers finds the same blocks
    assert_equal_to_transformers(either, PromptBatch.of([ANIMALS.prompt([0, 2, 4]), ANIMALS.prompt([5])]))


# Batches of other sizes and other orders round otherwise, and in float32 near-tied proposals may then swap places: what
# is equal in mathematics but not in its order of operations is compared in float64.


def test_a_picture_does_not_depend_on_its_neighbours_or_their_prompts(either):
    either.double()
    pixels, mask = pictures(dtype=torch.float64)
    prompts = [ANIMALS.prompt([5, 1, 3]), ANIMALS.prompt([0])]
    with torch.no_grad():
        together = either(pixels, mask, PromptBatch.of(prompts))
        for b, prompt in enumerate(prompts):
            alone = either(pixels[b : b + 1], mask[b : b + 1], prompt)
            tokens = len(prompt.input_ids)
            assert relative_error(together.logits[:, b : b + 1, :, :tokens], alone.logits) <= 1e-5
            assert relative_error(together.boxes[:, b : b + 1], alone.boxes) <= 1e-5
            assert torch.isinf(together.logits[:, b, :, tokens:]).all()


def permuted_logits(detector, order):
    """Final logits (B, Q, P, tokens of a phrase) by class, whatever the order of the prompt."""
    phrases = ["red bird", "with mask", "without mask", "red fish"]
    prompt = Vocabulary(phrases, TOKENIZER).prompt(order)
    pixels, mask = pictures(dtype=torch.float64)
    with torch.no_grad():
        outputs = detector(pixels, mask, prompt)
    columns = {c: prompt.phrase_map[row].nonzero().flatten() for row, c in enumerate(prompt.classes)}
    return torch.stack([outputs.logits[..., columns[c]] for c in range(4)], dim=-2), outputs.boxes


def test_permuting_phrases_permutes_logits(either):
    either.double()
    logits, boxes = permuted_logits(either, [0, 1, 2, 3])
    shuffled_logits, shuffled_boxes = permuted_logits(either, [2, 0, 3, 1])
    assert relative_error(shuffled_logits, logits) <= 1e-5
    assert relative_error(shuffled_boxes, boxes) <= 1e-5


def test_without_sub_sentence_masking_the_order_of_phrases_matters(detector):
    whole = GroundingDetector(detector.model, Switches(sub_sentence=False)).eval().double()
    logits, _ = permuted_logits(whole, [0, 1, 2, 3])
    shuffled_logits, _ = permuted_logits(whole, [2, 0, 3, 1])
    assert relative_error(shuffled_logits, logits) > 1e-3


def phrase_features(detector, other: str):
    prompt = build_prompt([other, "without mask"], TOKENIZER)
    with torch.no_grad():
        return detector.encode_text(PromptBatch.of([prompt])).features[0, prompt.phrase_map[1]]


def test_changing_one_phrase_leaves_the_features_of_all_others(detector):
    before, after = phrase_features(detector, "with mask"), phrase_features(detector, "a very long red fish")
    assert (before - after).abs().max() <= 1e-6
    whole = GroundingDetector(detector.model, Switches(sub_sentence=False)).eval()
    before, after = phrase_features(whole, "with mask"), phrase_features(whole, "a very long red fish")
    assert (before - after).abs().max() > 1e-2


def test_pictures_are_encoded_once_for_many_prompts(detector):
    pixels, mask = pictures()
    calls = []
    hook = detector.model.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        image = detector.encode_image(pixels, mask)
        answers = [detector.ground(image, ANIMALS.prompt(classes)) for classes in ([0, 1], [2, 3], [4, 5])]
        again = detector(pixels, mask, ANIMALS.prompt([2, 3]))
    hook.remove()
    assert len(calls) == 2  # once for three prompts, once for the comparison
    assert relative_error(answers[1].logits, again.logits) <= 1e-5


def test_fewer_image_tokens_than_queries_give_fewer_queries(detector, prompt):
    pixels, mask = pictures(height=32, width=64)
    outputs = detector(pixels, mask, prompt)
    tokens = 4 * 8 + 2 * 4 + 1 * 2 + 1 * 1
    assert outputs.logits.shape == (4, 2, tokens, len(prompt.input_ids))
    assert torch.isfinite(outputs.logits).all()


def test_eager_text_attention_is_refused():
    model = random_nano()
    model.model.text_backbone.config._attn_implementation = "eager"
    with pytest.raises(ValueError, match="sdpa"):
        GroundingDetector(model)


def test_a_prompt_longer_than_the_model_reads_is_refused(detector):
    pixels, mask = pictures()
    prompt = Vocabulary([f"red fish {i}" for i in range(80)], TOKENIZER).prompt()
    with pytest.raises(PromptError, match=f"{len(prompt.input_ids)} tokens, the model reads 256 at once"):
        detector(pixels, mask, prompt)


def test_places_in_the_picture_keep_full_precision_under_autocast(detector):
    pixels, mask = pictures(height=160, width=224)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = detector.encode_image(pixels, mask).valid_ratios
    with torch.no_grad():
        full = detector.encode_image(pixels, mask).valid_ratios
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, full)
