"""What an exported folder says beside its weights: `gdino.json`: prompt, thresholds, how it is asked."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from gdino_lightning.data.canvas import Sizing
from gdino_lightning.errors import CheckpointError, ConfigError, GdinoError, listed, reason_of
from gdino_lightning.files import part_of, write_atomic
from gdino_lightning.model.detector import Switches
from gdino_lightning.prompt import class_phrases

PROMPT_NAME = "gdino.json"
FORMAT = 1  # of gdino.json; readers refuse higher ones


@dataclass(frozen=True)
class EvaluationSettings:
    """How weights were evaluated and want to be asked, under the names of a run's configuration.

    Attributes:
        short_side: px that the short side of a picture becomes.
        long_side_max: px that the long side does not exceed.
        canvas_multiple: px; both sides of the padded picture are multiples of it.
        top_k: Detections kept per picture.
        token_score: How a phrase's token probabilities become one score: `mean` or `max`.
        prompt_tokens: Tokens of a prompt; None for as many as the model reads.
    """

    short_side: int = 800
    long_side_max: int = 1333
    canvas_multiple: int = 64
    top_k: int = 300
    token_score: Literal["mean", "max"] = "mean"
    prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check numbers that may come from a file."""
        Sizing(self.short_side, self.long_side_max, self.canvas_multiple)
        least = min(self.top_k, 1 if self.prompt_tokens is None else self.prompt_tokens)
        if least < 1 or self.token_score not in ("mean", "max"):
            raise ConfigError(
                f"top_k {self.top_k}, prompt_tokens {self.prompt_tokens}, token_score {self.token_score!r}: expected "
                "numbers above 0, and 'mean' or 'max'"
            )


@dataclass(frozen=True)
class SavedPrompt:
    """What belongs to weights and has no place in files of transformers.

    Attributes:
        phrases: Class name -> wording, in class order; None for weights that know no classes.
        thresholds: The calibrated working point of the phrases, in plain types; None where there is none.
        architecture: `Switches.architecture` that the weights were trained with.
        evaluation: How they were evaluated.
    """

    phrases: dict[str, str] | None
    thresholds: dict[str, Any] | None
    architecture: dict[str, bool]
    evaluation: EvaluationSettings


def write_prompt(folder: Path, saved: SavedPrompt) -> None:
    """Write gdino.json into a folder."""
    text = json.dumps({"format": FORMAT, **asdict(saved)}, indent=1, ensure_ascii=False)
    write_atomic(folder / PROMPT_NAME, f"{text}\n".encode())


def read_prompt(folder: Path) -> SavedPrompt | None:
    """Read gdino.json; None where a folder has none, as folders of the hub do.

    Raises:
        CheckpointError: It is damaged or of a newer format.
    """
    path = folder / PROMPT_NAME
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_bytes())
        newer = plain["format"] > FORMAT
        saved = None if newer else _checked(plain)
    except (ValueError, KeyError, TypeError, GdinoError) as error:
        raise CheckpointError(f"{path}: damaged ({reason_of(error)}); export the weights again") from None
    if saved is None:
        raise CheckpointError(
            f"{path}: of format {plain['format']}, this version reads {FORMAT}; update gdino-lightning"
        )
    return saved


@contextmanager
def staged(folder: Path, names: Callable[[str], bool]) -> Iterator[Path]:
    """Fill a folder beside its place, then move it there; it is whole or absent, and an older one is replaced.

    Args:
        folder: To make, or to replace where it is empty or was made here.
        names: Tells whether a file of that name is one of those that are written.

    Yields:
        A new folder to write to.

    Raises:
        CheckpointError: There is something at `folder` that would be lost.
        OSError: It cannot be written. What was there before stays.
    """
    folder = folder.resolve()
    _refuse_foreign(folder, names)
    new, old = part_of(folder), part_of(folder.with_name(f"{folder.name}.old"))
    for left_over in (new, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _refuse_foreign(folder: Path, names: Callable[[str], bool]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; choose another --output")
    found = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in found if not names(name)]
    if foreign:
        raise CheckpointError(f"{folder}: holds {listed(foreign, most=3)}, not of an export; choose another --output")
    if found and PROMPT_NAME not in found:
        raise CheckpointError(
            f"{folder}: holds weights without {PROMPT_NAME}, not of an export; choose another --output"
        )


def _checked(plain: Mapping[str, Any]) -> SavedPrompt:
    phrases, thresholds = plain["phrases"], plain["thresholds"]
    if phrases is not None:
        phrases = class_phrases(dict(phrases))
    if thresholds is not None:
        _check_thresholds(thresholds, len(phrases or ()))
    architecture = {name: bool(plain["architecture"][name]) for name in Switches().architecture}
    return SavedPrompt(phrases, thresholds, architecture, EvaluationSettings(**plain["evaluation"]))


def _check_thresholds(plain: Mapping[str, Any], num_classes: int) -> None:
    for name in ("scores", "nms_ious"):
        values: Sequence[object] = plain[name]
        if len(values) != num_classes or not all(isinstance(value, Real) for value in values):
            raise ValueError(f"thresholds.{name}: expected {num_classes} numbers")
    if not isinstance(plain["temperature"], Real):
        raise ValueError("thresholds.temperature: expected a number")
