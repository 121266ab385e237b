"""The model card: README.md of an exported folder, with the front matter that the hub reads."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from gdino_lightning import __version__
from gdino_lightning.model.folder import EvaluationSettings

CARD_NAME = "README.md"
TASK = "zero-shot-object-detection"
MINIATURES = ("nano", "nano-random")
_APACHE = ("IDEA-Research", *MINIATURES)  # who published weights under Apache-2.0: the paper's authors, and we
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_EXAMPLES = ("cat", "dog")


@dataclass(frozen=True)
class CardFacts:
    """What is known about weights beside themselves; what is not stated here, the card does not claim.

    Attributes:
        name: Of the model; by default that of the folder.
        base: The weights that training started from, as given to `model.weights`.
        license: SPDX identifier; by default that of the base, where it is known.
        data: What the weights were trained on, in a few words.
        training: How they were trained, in a sentence or two.
        metrics: Metric -> value.
        scored_on: The pictures that the metrics are of.
        evaluation: How the weights were evaluated; by default what an export says that is exported again, else what
            Grounding DINO was published with.
    """

    name: str | None = None
    base: str | None = None
    license: str | None = None
    data: str | None = None
    training: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    scored_on: str | None = None
    evaluation: EvaluationSettings | None = None


@dataclass(frozen=True)
class ClassRow:
    """A class in the card.

    Attributes:
        name: Of the class.
        wording: What the model reads.
        threshold: Calibrated score from which on its detections count.
        nms_iou: Calibrated overlap from which on a lower score of the class is dropped.
        reason: Why plain transformers reads the wording in another way; empty where it does not.
    """

    name: str
    wording: str
    threshold: float | None
    nms_iou: float | None
    reason: str


@dataclass(frozen=True)
class ModelFacts:
    """What the weights themselves say.

    Attributes:
        family: Name of the architecture.
        millions: Of parameters.
        num_queries: Boxes that the model answers with.
        max_tokens: Tokens of a prompt, at most.
        classes: The classes that belong to the weights.
        together: Wordings that plain transformers reads as we do and that fit into one prompt.
    """

    family: str
    millions: float
    num_queries: int
    max_tokens: int
    classes: Sequence[ClassRow]
    together: Sequence[str]


def write_card(
    path: Path, model: ModelFacts, facts: CardFacts, evaluation: EvaluationSettings, *, name: str, source: str
) -> None:
    """Write the card.

    Args:
        path: File to write.
        model: What the weights say.
        facts: What else is known.
        evaluation: How the weights were evaluated.
        name: Of the model, where `facts` has none.
        source: What was exported: a hub id, the miniature, or a path, whose last part is named.
    """
    base = facts.base or (source if _is_public(source) else None)
    license_id = facts.license or ("apache-2.0" if base and base.split("/")[0] in _APACHE else None)
    text = _template().render(
        front_matter=_front_matter(facts, facts.name or name, base, license_id),
        name=facts.name or name,
        source=source if _is_public(source) else Path(source).name,
        base=base if base is None or _is_public(base) else Path(base).name,
        license=license_id,
        facts=facts,
        evaluation=evaluation,
        model=model,
        words=json.dumps(list(model.together or _EXAMPLES), ensure_ascii=False),
        task=TASK,
        version=__version__,
    )
    path.write_text(text, encoding="utf-8")


def _front_matter(facts: CardFacts, name: str, base: str | None, license_id: str | None) -> str:
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="custom",
            dataset_name=facts.scored_on or facts.data or "not stated",
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for metric, value in facts.metrics.items()
    ]
    data = ModelCardData(
        license=license_id,
        library_name="transformers",
        pipeline_tag=TASK,
        base_model=base if base and base not in MINIATURES and _is_public(base) else None,
        tags=["grounding-dino", "gdino-lightning"],
        model_name=name,
        eval_results=results or None,
    )
    text: str = data.to_yaml()
    return text


def _is_public(weights: str) -> bool:
    """Tell a hub id or the miniature from a path, which is nobody else's business."""
    is_id = _HUB_ID.fullmatch(weights) is not None and not Path(weights).exists()
    return weights in MINIATURES or (is_id and not weights.endswith((".ckpt", ".pth", ".safetensors")))


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("gdino_lightning.model", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template("card.md")


def _cell(text: str) -> str:
    """Write a text so that it stays within its cell of a table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
