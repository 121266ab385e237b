"""Filling by a diffusion model: any inpainting pipeline of diffusers, at full detail also in large pictures."""

import importlib
import inspect
import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import constants
from PIL import Image
from tqdm import tqdm

from gdino_lightning.editing.masks import Mask
from gdino_lightning.editing.places import places, working_size
from gdino_lightning.errors import CheckpointError, ConfigError, reason_of
from gdino_lightning.inference.pictures import Pixels

_ONLY_FILLS = "FluxFillPipeline"  # AutoPipelineForInpainting of diffusers 0.42 does not know it
_SEEDS = 2**63  # what a torch generator takes


@dataclass(frozen=True)
class Diffusion:
    """How a pipeline fills. None leaves a value to the pipeline, whose defaults suit its weights.

    Attributes:
        strength: 0 to 1, how far what was there is forgotten; of `steps`, this share is run.
        steps: Denoising steps.
        guidance: Weight of the prompt.
        negative_prompt: What shall not be seen.
        seed: Of the noise. The n-th place that a prompt fills, from the top, starts from `seed` + n - 1.
        crop: Surroundings that the pipeline sees on each side of a place, as a share of the place's longer side. Less
            gives the place more of the pipeline's pixels, more shows it more of the scene.

    Raises:
        ConfigError: A value is out of range.
    """

    strength: float | None = None
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str | None = None
    seed: int = 0
    crop: float = 1.0

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ConfigError(f"strength is {self.strength}: it is above 0 and at most 1")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps is {self.steps}: it must be at least 1")
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise ConfigError(f"guidance is {self.guidance}: it is 0 or more")
        if not 0 <= self.seed < _SEEDS:
            raise ConfigError(f"seed is {self.seed}: it is from 0 to {_SEEDS - 1}")
        if not (math.isfinite(self.crop) and self.crop >= 0):
            raise ConfigError(f"crop is {self.crop}: it is a share of a place's longer side, 0 or more")


class DiffusersFill:
    """Paints what a prompt says, with a pipeline of diffusers.

    Each separate place of a mask is filled by itself: it is cut out with its surroundings, scaled to the resolution
    the pipeline was trained at, filled, and scaled back. So a small face in a large picture is painted in all detail,
    and a place larger than that resolution becomes softer than what surrounds it.

    Args:
        pipeline: An inpainting pipeline, on its device.
        diffusion: How it fills.

    Raises:
        CheckpointError: The pipeline takes no picture, mask and prompt, or has no resolution of its own.
        ConfigError: The pipeline does not take a value that is set, or no step would be left to run.
    """

    def __init__(self, pipeline: Any, diffusion: Diffusion | None = None) -> None:
        self._pipeline, self._diffusion = pipeline, diffusion or Diffusion()
        parameters = inspect.signature(pipeline.__call__).parameters
        if not {"prompt", "image", "mask_image", "height", "width"} <= set(parameters):
            raise CheckpointError(f"{_name(pipeline)} is no inpainting pipeline: it takes no picture, mask and prompt")
        self._settings = _settings(self._diffusion, parameters, _name(pipeline))
        self._resolution = _resolution(pipeline)
        self._multiple = 2 * pipeline.vae_scale_factor  # latents, and the patches of 2 x 2 that transformers take

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path,
        diffusion: Diffusion | None = None,
        *,
        device: torch.device | str = "cpu",
        variant: str | None = None,
    ) -> "DiffusersFill":
        """Load a pipeline from a folder, the cache or the hub; safetensors only, and no code from it.

        Args:
            weights: Folder that `save_pretrained` wrote, or a hub id. An inpainting pipeline, or a text-to-image one
                that diffusers can inpaint with.
            diffusion: How it fills.
            device: Where it runs: in float32 on a CPU, else in bfloat16, or float16 where a GPU lacks that.
            variant: Ending of the weight files, such as `fp16`, where a repository has several.

        Raises:
            CheckpointError: There is no such pipeline, it does not inpaint, or its weights are missing or unsafe.
            ConfigError: diffusers is not installed, or a setting does not suit the pipeline.
        """
        pipeline = _load(str(weights), _precision(torch.device(device)), variant)
        fill = cls(pipeline.to(device), diffusion)
        pipeline.set_progress_bar_config(leave=False, desc="denoising")
        return fill

    def __call__(self, picture: Pixels, mask: Mask, prompt: str = "") -> Pixels:
        """Paint the places of a mask; see `Fill`.

        Raises:
            ConfigError: The pipeline's own safety checker has blanked the result.
        """
        filled = picture.copy()
        found = list(places(mask, self._diffusion.crop))
        for number, (window, place) in enumerate(tqdm(found, desc=prompt or "remove", unit="place", leave=False)):
            filled[window][place] = self._paint(filled[window], place, prompt, self._diffusion.seed + number)[place]
        return filled

    def _paint(self, view: Pixels, place: npt.NDArray[np.bool_], prompt: str, seed: int) -> Pixels:
        """Return (h, w, 3) new pixels for a part of the picture, of which those in `place` (h, w) are wanted."""
        rows, columns = place.shape
        height, width = working_size(rows, columns, self._resolution, self._multiple)
        result = self._pipeline(
            prompt=prompt,
            image=Image.fromarray(view).resize((width, height), Image.Resampling.LANCZOS),
            mask_image=Image.fromarray(place).convert("L").resize((width, height), Image.Resampling.NEAREST),
            height=height,
            width=width,
            generator=torch.Generator().manual_seed(seed),  # of the CPU: equal on every device
            **self._settings,
        )
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            raise ConfigError(
                f"the pipeline's safety checker refused what was painted for {prompt!r}: try another seed"
            )
        return np.asarray(
            result.images[0].convert("RGB").resize((columns, rows), Image.Resampling.LANCZOS), dtype=np.uint8
        )


def _load(weights: str, dtype: torch.dtype, variant: str | None) -> Any:
    """Load a pipeline: a folder as it is; a hub id from the cache where it is complete, else from the hub."""
    diffusers = _import_diffusers()
    folder = Path(weights).expanduser()
    if not folder.is_dir() and (weights.count("/") != 1 or weights.startswith((".", "/", "~"))):
        raise CheckpointError(f"{weights}: no such folder, and no hub id (owner/name); give an inpainting pipeline")
    source = str(folder) if folder.is_dir() else weights
    may_ask_hub = not folder.is_dir() and not constants.HF_HUB_OFFLINE
    try:
        return _open(diffusers, source, dtype, variant, local_only=True)
    except (OSError, ValueError) as error:
        if not may_ask_hub:
            raise _refusal(weights, error, offline=not folder.is_dir()) from None
    logging.getLogger(__name__).info("%s is not in the cache: asking the hub", weights)
    try:
        return _open(diffusers, source, dtype, variant, local_only=False)
    except (OSError, ValueError) as error:
        raise _refusal(weights, error, offline=False) from None


def _open(diffusers: Any, source: str, dtype: torch.dtype, variant: str | None, *, local_only: bool) -> Any:
    config = diffusers.DiffusionPipeline.load_config(source, local_files_only=local_only)
    only_fills = config.get("_class_name") == _ONLY_FILLS
    loader = diffusers.FluxFillPipeline if only_fills else diffusers.AutoPipelineForInpainting
    return loader.from_pretrained(
        source, dtype=dtype, variant=variant, use_safetensors=True, trust_remote_code=False, local_files_only=local_only
    )


def _refusal(weights: str, error: Exception, *, offline: bool) -> CheckpointError:
    remedy = (
        "HF_HUB_OFFLINE is set: download it where there is a network and give the folder"
        if offline
        else "give a folder or a hub id of an inpainting pipeline with safetensors"
    )
    return CheckpointError(f"{weights}: cannot be loaded as an inpainting pipeline ({reason_of(error)}); {remedy}")


def _import_diffusers() -> Any:
    """Return the module diffusers.

    Raises:
        ConfigError: It is not installed.
    """
    for library in ("transformers.utils.import_utils", "diffusers.models.modeling_utils"):
        logging.getLogger(library).addFilter(_is_news)  # a filter is added once
    # an argument of diffusers' own call
    warnings.filterwarnings("ignore", message=r".*`local_dir_use_symlinks` argument is deprecated")
    try:
        return importlib.import_module("diffusers")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'gdino-lightning[edit]'") from None


def _is_news(record: logging.LogRecord) -> bool:
    """Drop two warnings of diffusers 0.42 that a user can do nothing about.

    It asks for image processors by names that mean torchvision, and is given those that do without. And moving a
    model names the modules that stay in float32, also where there are none.
    """
    message = record.getMessage()
    return "requires torchvision" not in message and "kept in float32: []" not in message


def _settings(diffusion: Diffusion, parameters: Mapping[str, inspect.Parameter], name: str) -> dict[str, Any]:
    """Return the arguments of a pipeline's call that are set."""
    wanted = {
        "strength": diffusion.strength,
        "num_inference_steps": diffusion.steps,
        "guidance_scale": diffusion.guidance,
        "negative_prompt": diffusion.negative_prompt,
    }
    settings: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    if unknown := [key for key in settings if key not in parameters]:
        raise ConfigError(f"{name} takes no {unknown[0]}: leave it out")
    strength, steps = (
        settings.get(key, parameters[key].default) if key in parameters else None
        for key in ("strength", "num_inference_steps")
    )
    if strength is not None and steps is not None and int(steps * strength) < 1:
        raise ConfigError(f"{name} runs strength x steps = {strength} x {steps} steps, which is none: give more steps")
    return settings


def _resolution(pipeline: Any) -> int:
    """Return the px of a side that a pipeline was trained at."""
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    latent = getattr(pipeline, "default_sample_size", None) or getattr(network, "config", {}).get("sample_size")
    if not isinstance(latent, int) or not hasattr(pipeline, "vae_scale_factor"):
        raise CheckpointError(f"{_name(pipeline)} does not say at which resolution it works; take another pipeline")
    return latent * int(pipeline.vae_scale_factor)


def _precision(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _name(pipeline: Any) -> str:
    return type(pipeline).__name__
