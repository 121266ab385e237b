import pytest
import torch
from pictures import pictures

from gdino_lightning.inference.postprocess import phrase_scores
from gdino_lightning.model.fixed_prompt import FixedPrompt
from gdino_lightning.prompt import PromptBatch


@pytest.mark.parametrize("token_score", ["mean", "max"])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_constant_words_are_answered_as_words_that_are_read(detector, prompt, batch, token_score):
    pixels, mask = pictures(batch)
    scores, boxes = FixedPrompt(detector, prompt, token_score)(pixels, mask)
    outputs = detector(pixels, mask, prompt)
    expected = phrase_scores(outputs.final_logits, prompt.phrase_map, token_score)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(boxes, outputs.final_boxes, rtol=0, atol=1e-6)


@torch.no_grad()
def test_following_the_best_tokens_is_answering_and_other_tokens_show(detector, prompt):
    module = FixedPrompt(detector, prompt)
    pixels, mask = pictures()
    image = detector.encode_image(pixels, mask)
    fused = detector.fuse(image, detector.encode_text(PromptBatch.of([prompt, prompt])))
    proposals, _ = detector.model.model.generate_encoder_output_proposals(fused[0].features, ~image.mask, image.shapes)
    words = detector.model.model.encoder_output_class_embed(proposals, fused[1].features, fused[1].token_mask)
    best = words[..., : len(prompt.word_mask)].amax(-1).argsort(dim=1, descending=True, stable=True)[:, :100]
    scores, boxes, apart = module.follow(pixels, mask, best)
    expected = module(pixels, mask)
    torch.testing.assert_close((scores, boxes), expected)
    assert apart.abs().max() <= 1e-6
    _, _, apart = module.follow(pixels, mask, best.flip(1))
    assert apart.abs().max() > 0.1
