"""Weights in, detections out: the Python door to a trained model. Starts without Lightning.

Letters: B pictures, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gdino_lightning.data.canvas import Sizing, normalise_on_canvas, resize
from gdino_lightning.errors import ConfigError, PromptError
from gdino_lightning.inference.answers import Answers
from gdino_lightning.inference.ask import Asker, Size
from gdino_lightning.inference.pictures import Picture, Pixels, as_pixels
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.saved import saved_evaluation
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.inference.words import Phrases, read_phrases
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.folder import EvaluationSettings
from gdino_lightning.model.pretrained import Pretrained, load_pretrained
from gdino_lightning.prompt import Prompt, Vocabulary

__all__ = ["Answers", "Detections", "Predictor", "Question"]


@dataclass(frozen=True)
class Question:
    """Phrases made ready to be asked.

    Attributes:
        wordings: Name -> wording, in the order of the labels. Names are class names, or the wordings themselves.
        prompts: Asked one after the other; several where the phrases do not fit into one.
        calibrated: The working point saved for exactly these phrases.
    """

    wordings: dict[str, str]
    prompts: tuple[Prompt, ...]
    calibrated: Thresholds | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the labels mean."""
        return tuple(self.wordings)


class Predictor:
    """Detects phrases in pictures, resized and padded as `gdino test` does.

    ```python
    predictor = Predictor.from_pretrained("runs/latest")
    found = predictor.predict("street.jpg")                       # the weights' own phrases
    found = predictor.predict("street.jpg", "red car . dog", box_threshold=0.3)
    for name, score, box in zip(found.texts(), found.scores.tolist(), found.boxes.tolist()):
        print(name, score, box)                                   # xyxy_px in the upright picture
    ```

    Args:
        loaded: Model, tokenizer, and the phrases saved with them.
        evaluation: Size of pictures and reading of answers.
        device: Where the model runs.

    Attributes:
        phrases: The wordings saved with the weights; () where there are none.
        thresholds: The calibrated working point saved for those phrases; None where there is none.
        sizing: Resize and canvas rule.
        device: Where the model is.
    """

    def __init__(self, loaded: Pretrained, evaluation: EvaluationSettings, device: torch.device) -> None:
        model = loaded.model.requires_grad_(False)
        self.detector = GroundingDetector(model, Switches(**(loaded.architecture or {}))).to(device).eval()
        self.device = device
        self.sizing = Sizing(evaluation.short_side, evaluation.long_side_max, evaluation.canvas_multiple)
        self._asker = Asker(evaluation.top_k, evaluation.token_score)
        self._tokenizer = loaded.tokenizer
        longest = model.config.max_text_len
        self._max_tokens = min(evaluation.prompt_tokens or longest, longest)
        self._own = dict(loaded.phrases or {})
        self.thresholds = None if loaded.thresholds is None else Thresholds.from_plain(loaded.thresholds)
        self._asked: Question | None = None  # the newest question

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path,
        *,
        device: str = "auto",
        short_side: int | None = None,
        long_side_max: int | None = None,
    ) -> "Predictor":
        """Load weights from any source that `load_pretrained` takes.

        Args:
            weights: `nano`, a run folder, a checkpoint, an adapter, a Hugging Face folder or a hub id.
            device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU where there is one.
            short_side: px that the short side of a picture becomes; by default as the weights were evaluated.
            long_side_max: px that the long side does not exceed; by default in its ratio to `short_side`.

        Raises:
            CheckpointError: The weights cannot be loaded.
            ConfigError: There is no such device, or a size is out of range.
        """
        place = _device(device)
        loaded = load_pretrained(weights)
        predictor = cls(loaded, saved_evaluation(weights), place)
        predictor.sizing = _sizing(predictor.sizing, short_side, long_side_max)
        return predictor

    @property
    def phrases(self) -> tuple[str, ...]:
        """The wordings saved with the weights; () where there are none."""
        return tuple(self._own.values())

    def predict(
        self,
        picture: Picture,
        phrases: Phrases | None = None,
        *,
        box_threshold: float | None = None,
        text_threshold: float | None = None,
        nms_iou: float | None = None,
        agnostic_nms: float | None = None,
    ) -> Detections:
        """Detect phrases in one picture; nothing found is a normal result.

        Args:
            picture: A file, a Pillow picture or an (H, W, 3) uint8 RGB array. Boxes are in px of the picture as a
                viewer shows it: turned upright by its EXIF orientation.
            phrases: One text ("cat . red dog"), a list of wordings, or class name -> wording; by default the weights'
                own.
            box_threshold: As in `Answers.detections`, like all that follows.
            text_threshold: Least probability of every token.
            nms_iou: Overlap within a phrase.
            agnostic_nms: Overlap over all phrases.

        Raises:
            DatasetError: The picture cannot be read.
            PromptError: The phrases cannot be used, or none are given to weights without any.
            ConfigError: A threshold is not from 0 to 1.
        """
        return self.look(picture, phrases).detections(
            box_threshold=box_threshold, text_threshold=text_threshold, nms_iou=nms_iou, agnostic_nms=agnostic_nms
        )

    def look(self, picture: Picture, phrases: Phrases | None = None) -> Answers:
        """Return what the model says about one picture, for thresholds that are chosen afterwards.

        Raises:
            DatasetError: The picture cannot be read.
            PromptError: The phrases cannot be used, or none are given to weights without any.
        """
        question = self.question(phrases)
        rgb = as_pixels(picture)
        pixels, mask = lay_out(rgb, self.sizing)
        return self.answer(pixels[None], mask[None], [(rgb.shape[1], rgb.shape[0])], question)[0]

    def question(self, phrases: Phrases | None = None) -> Question:
        """Make phrases ready to be asked; by default the weights' own.

        Raises:
            PromptError: They cannot be used, or none are given to weights without any.
        """
        if phrases is None and not self._own:
            raise PromptError("these weights know no phrases of their own; say what to look for, such as 'cat . dog'")
        wordings = self._own if phrases is None else read_phrases(phrases)
        if self._asked is None or list(self._asked.wordings.items()) != list(wordings.items()):
            self._asked = self._prepare(wordings)
        return self._asked

    @torch.inference_mode()
    def answer(self, pixels: Tensor, mask: Tensor, sizes: Sequence[Size], question: Question) -> list[Answers]:
        """Ask about pictures of one canvas.

        Args:
            pixels: (B, 3, H, W) normalised pictures, 0 where padded.
            mask: (B, H, W) bool, True on the picture.
            sizes: (width, height) px of the B pictures.
            question: What `question` returned.

        Returns:
            What was said about each, on the CPU.
        """
        pixels, mask = pixels.to(self.device), mask.to(self.device)
        found = self._asker.detect(self.detector, pixels, mask, question.prompts, sizes)
        return [Answers(replace(each.cpu(), names=question.names), question.calibrated) for each in found]

    def _prepare(self, wordings: dict[str, str]) -> Question:
        prompts = Vocabulary(list(wordings.values()), self._tokenizer).chunks(self._max_tokens)
        # thresholds go by class index, so they hold for the same wordings in the same order
        own = list(wordings.values()) == list(self._own.values())
        return Question(dict(wordings), tuple(prompts), self.thresholds if own else None)


def lay_out(rgb: Pixels, sizing: Sizing) -> tuple[Tensor, Tensor]:
    """Resize and normalise a picture and lay it on its canvas: (3, H, W) float32 pixels and (H, W) bool mask."""
    height, width = rgb.shape[:2]
    canvas = sizing.canvas(width, height)
    return normalise_on_canvas(resize(np.ascontiguousarray(rgb), sizing.resized_into(width, height, canvas)), canvas)


def _device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        ConfigError: There is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {name!r}: {str(error).splitlines()[0]}; use cpu, or leave it out") from None
    if device.type == "meta":
        raise ConfigError("device 'meta' computes nothing; use cpu, or leave it out")
    return device


def _sizing(saved: Sizing, short_side: int | None, long_side_max: int | None) -> Sizing:
    """Return the saved rule at other sides, where they are given."""
    if short_side is not None and short_side < 1:
        raise ConfigError(f"short_side is {short_side}: it must be at least 1")
    chosen = saved if short_side is None else saved.at(short_side)
    return chosen if long_side_max is None else replace(chosen, long_side_max=long_side_max)
