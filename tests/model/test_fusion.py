"""The reordered attention between image and text against transformers' own."""

import pytest
import torch
from torch import Tensor, nn
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoBiMultiHeadAttention

from gdino_lightning.model.fusion import FusionAttention, matrix_of
from gdino_lightning.model.nano import WIDTH, nano_config


class Shifted(nn.Linear):
    """A linear layer that is more than its weight, as one with adapters is."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) + 0.3 * tokens.flip(-1)[..., :1]


def drawn_attention() -> GroundingDinoBiMultiHeadAttention:
    torch.manual_seed(0)
    attention = GroundingDinoBiMultiHeadAttention(nano_config())
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.2)
    return attention.eval()


def drawn_tokens() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, n, WIDTH, generator=rng, requires_grad=True) for n in (30, 5))  # type: ignore[return-value]


def padding() -> dict[str, Tensor]:
    image, text = torch.zeros(2, 30, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.bool)
    image[1, 20:] = text[0, 3:] = True
    return {"vision_attention_mask": image, "text_attention_mask": text}


@pytest.mark.parametrize("masks", [{}, padding()], ids=["whole", "padded"])
def test_outputs_and_gradients_are_those_of_transformers(masks: dict[str, Tensor]) -> None:
    plain, tokens = drawn_attention(), drawn_tokens()
    (image, of_image), (text, of_text) = plain(*tokens, **masks)
    (found_image, found_of_image), (found_text, found_of_text) = FusionAttention(plain)(*tokens, **masks)
    torch.testing.assert_close(found_of_image.flatten(0, 1), of_image, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found_of_text.flatten(0, 1), of_text, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found_image, image, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found_text, text, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(image.square().sum() + text.sum(), [*tokens, *plain.parameters()])
    found = torch.autograd.grad(found_image.square().sum() + found_text.sum(), [*tokens, *plain.parameters()])
    for got, expected in zip(found, wanted, strict=True):
        assert (got - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)


def test_dropout_leaves_attention_out_of_both_directions_and_of_the_bias() -> None:
    """With everything dropped, only what comes after the attention is left: the output's bias."""
    plain = drawn_attention()
    attention = FusionAttention(plain).train()
    attention.dropout = 1.0
    (image, _), (text, _) = attention(*drawn_tokens())
    torch.testing.assert_close(image, plain.out_vision_proj.bias.expand_as(image))
    torch.testing.assert_close(text, plain.out_text_proj.bias.expand_as(text))


def test_a_layer_with_adapters_is_what_it_does() -> None:
    plain = drawn_attention()
    for name, projection in list(plain.named_children()):
        shifted = Shifted(projection.in_features, projection.out_features)
        shifted.load_state_dict(projection.state_dict())
        setattr(plain, name, shifted)
    weight, bias = matrix_of(plain.vision_proj)
    tokens = torch.randn(3, WIDTH)
    torch.testing.assert_close(tokens @ weight.T + bias, plain.vision_proj(tokens), rtol=1e-5, atol=1e-5)
    (image, _), (text, _) = plain(*drawn_tokens())
    (found_image, _), (found_text, _) = FusionAttention(plain)(*drawn_tokens())
    torch.testing.assert_close(found_image, image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found_text, text, rtol=1e-4, atol=1e-4)
