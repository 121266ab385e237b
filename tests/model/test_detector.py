"""The stages against transformers' own forward on the same tensors and weights."""

import pytest
import torch
from transformers import MMGroundingDinoConfig, MMGroundingDinoForObjectDetection

from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano import nano_config, random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import build_prompt


def pictures(batch: int = 2, height: int = 96, width: int = 128):
    generator = torch.Generator().manual_seed(5)
    mask = torch.ones(batch, height, width, dtype=torch.bool)
    mask[-1, 70:] = False
    mask[-1, :, 100:] = False
    return torch.randn(batch, 3, height, width, generator=generator) * mask[:, None], mask


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs[theirs.isfinite()].abs().max())


def assert_equal_to_transformers(detector: GroundingDetector, prompt) -> None:
    pixels, mask = pictures()
    ids = prompt.input_ids.expand(2, -1)
    with torch.no_grad():
        ours = detector(pixels, mask, prompt)
        theirs = detector.model(pixel_values=pixels, pixel_mask=mask.long(), input_ids=ids)
    tokens = len(prompt.input_ids)
    assert relative_error(ours.final_logits, theirs.logits[..., :tokens]) <= 1e-5
    assert relative_error(ours.final_boxes, theirs.pred_boxes) <= 1e-5
    # the encoder stage: transformers keeps all proposals, ours are its best ones
    best = theirs.enc_outputs_class.amax(-1).topk(ours.logits.shape[2], dim=1).indices
    wanted = theirs.enc_outputs_class.gather(1, best[..., None].expand(-1, -1, 256))[..., :tokens]
    assert relative_error(ours.logits[0], wanted) <= 1e-5
    coordinates = theirs.enc_outputs_coord_logits.gather(1, best[..., None].expand(-1, -1, 4)).sigmoid()
    assert relative_error(ours.boxes[0], coordinates) <= 1e-5


def test_equal_to_transformers(detector, prompt):
    assert_equal_to_transformers(detector, prompt)


def test_equal_to_transformers_mm_family(prompt):
    settings = {k: v for k, v in nano_config().to_dict().items() if k not in ("model_type", "architectures")}
    torch.manual_seed(0)
    model = MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    assert_equal_to_transformers(GroundingDetector(model).eval(), prompt)


def test_the_mask_reaches_the_model(detector, prompt):
    """With every token seeing every other one, the outputs must change."""
    pixels, mask = pictures()
    open_prompt = build_prompt(list(prompt.phrases), nano_tokenizer())
    open_prompt.self_attention_mask.fill_(True)
    with torch.no_grad():
        masked = detector(pixels, mask, prompt).final_logits
        unmasked = detector(pixels, mask, open_prompt).final_logits
    assert relative_error(unmasked, masked) > 1e-3


def test_a_phrase_is_encoded_alike_whatever_stands_beside_it(detector):
    tokenizer = nano_tokenizer()
    with torch.no_grad():
        first = detector.encode_text(build_prompt(["with mask", "no. 1 part"], tokenizer), 1).features[0, 1:4]
        second = detector.encode_text(build_prompt(["a blue hat", "with mask"], tokenizer), 1).features[0, 5:8]
    assert torch.allclose(first, second, atol=1e-6)


def test_a_picture_does_not_depend_on_its_neighbours(detector, prompt):
    pixels, mask = pictures()
    with torch.no_grad():
        together = detector(pixels, mask, prompt)
        for b in range(2):
            alone = detector(pixels[b : b + 1], mask[b : b + 1], prompt)
            assert relative_error(together.logits[:, b : b + 1], alone.logits) <= 1e-5
            assert relative_error(together.boxes[:, b : b + 1], alone.boxes) <= 1e-5


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
