"""Diffusion pipelines of a few thousand random weights, built without a hub: the real code of diffusers at 64 px."""

import json
import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxTransformer2DModel,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

RESOLUTION = 64  # px of a side that these pipelines work at
LATENT = RESOLUTION // 8
WIDTH = 16  # of the text features


def save_stable_diffusion(folder: Path, **options: Any) -> Path:
    """Stable Diffusion 1.5's inpainting pipeline: 9 channels into the UNet."""
    stable_diffusion(folder, **options).save_pretrained(folder)
    return folder


def stable_diffusion(folder: Path, *, cautious: bool = False) -> StableDiffusionInpaintPipeline:
    torch.manual_seed(0)
    checker = {"safety_checker": _checker(), "feature_extractor": _extractor()} if cautious else _UNCHECKED
    return StableDiffusionInpaintPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_text_config()),
        tokenizer=_clip_tokenizer(folder),
        unet=_unet(9),
        scheduler=_scheduler(),
        requires_safety_checker=cautious,
        **checker,
    )


def save_text_to_image(folder: Path) -> Path:
    """Stable Diffusion for text to image: 4 channels into the UNet."""
    torch.manual_seed(1)
    StableDiffusionPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_text_config()),
        tokenizer=_clip_tokenizer(folder),
        unet=_unet(4),
        scheduler=_scheduler(),
        requires_safety_checker=False,
        **_UNCHECKED,
    ).save_pretrained(folder)
    return folder


def save_xl(folder: Path) -> Path:
    """SDXL's inpainting pipeline: two text encoders, sizes as extra conditions."""
    torch.manual_seed(2)
    numbers = 6 * 8  # six numbers about sizes, embedded in 8 each
    StableDiffusionXLInpaintPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        tokenizer=_clip_tokenizer(folder),
        tokenizer_2=_clip_tokenizer(folder),
        unet=_unet(
            9,
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=WIDTH + numbers,
        ),
        scheduler=_scheduler(),
    ).save_pretrained(folder)
    return folder


def save_flux_fill(folder: Path) -> Path:
    """Flux Fill: a transformer on patches of 2 x 2 latents, with mask and masked picture as extra channels."""
    torch.manual_seed(3)
    latent = 4
    extra = 4 * latent + 4 * 8 * 8  # a patch of the masked picture, and its 16 x 16 px of mask
    pipeline = FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(latent, shift_factor=0.1),
        text_encoder=CLIPTextModel(_text_config()),
        tokenizer=_clip_tokenizer(folder),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=16, num_heads=2, num_layers=1)
        ),
        tokenizer_2=_word_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=4 * latent + extra,
            out_channels=4 * latent,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=1,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        ),
    )
    pipeline.save_pretrained(folder)
    return folder


_UNCHECKED = {"safety_checker": None, "feature_extractor": None}


def _unet(channels: int, **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **{"cross_attention_dim": WIDTH, **options},
    )


def _vae(latent: int, **options: Any) -> AutoencoderKL:
    """Four levels: a latent is 8 px."""
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent,
        sample_size=RESOLUTION,
        **options,
    )


def _scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)


def _text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=16,
        projection_dim=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=2 * len(_LETTERS) + 2,
        bos_token_id=2 * len(_LETTERS),
        eos_token_id=2 * len(_LETTERS) + 1,
        pad_token_id=2 * len(_LETTERS) + 1,
    )


_LETTERS = string.ascii_lowercase + string.digits + ",.-"


def _clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """A byte-pair encoding without a merge: every letter is a token."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(vocab), str(merges), model_max_length=77)
    vocab.unlink()
    merges.unlink()
    return tokenizer


def _word_tokenizer() -> PreTrainedTokenizerFast:
    """Words for T5: known ones, <unk>, and </s> at the end."""
    vocab = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "a", "red", "blue", "scarf"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def _checker() -> StableDiffusionSafetyChecker:
    """A safety checker that objects to every picture."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = CLIPConfig(
        vision_config={**vision, "image_size": 32, "patch_size": 16}, text_config=vision, projection_dim=WIDTH
    )
    checker = StableDiffusionSafetyChecker(config)
    torch.nn.init.constant_(checker.concept_embeds_weights, -10.0)  # a similarity of any size is above it
    return checker


def _extractor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
