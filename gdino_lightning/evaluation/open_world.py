"""Zero-shot scores on the drawn open world: what a model finds for phrases that it was not trained on.

A picture is asked for one phrase for each of its things and for sampled ones that are true of nothing in it, all in
one prompt. A phrase counts only where it was asked for, as in federated datasets (Gupta et al. 2019, section 3.1).

Letters: B pictures, N boxes, K detections.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from gdino_lightning.boxes import xyxy_px_to_cxcywh_norm
from gdino_lightning.data.batch import Target
from gdino_lightning.data.canvas import canvas_of, normalise_on_canvas
from gdino_lightning.data.world import Phrase, Scene, Split, absent, draw_scene, naming
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.prompt import PromptBatch, build_prompt

ROWS = ("kind", "attribute", "relation")
MULTIPLE = 32  # px; canvases are multiples of it


@dataclass(frozen=True)
class Question:
    """A scene and what it is asked for: each phrase with the indices of the things that it names, perhaps none."""

    scene: Scene
    asked: tuple[tuple[Phrase, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Answer:
    """What one picture should give for one phrase, and what it gave.

    Attributes:
        picture: Number of the picture.
        phrase: What was asked.
        truth: (N, 4) float32 xyxy_px; N is 0 for an absent phrase.
        found: Detections of the phrase.
        size: (width, height) px of the picture.
    """

    picture: int
    phrase: Phrase
    truth: Tensor
    found: Detections
    size: tuple[int, int]

    @property
    def best(self) -> float:
        """Highest score; 0 where nothing was found."""
        return max(self.found.scores.tolist(), default=0.0)


@dataclass(frozen=True)
class RowScore:
    """How well the phrases of one sort were found.

    Attributes:
        map_50: AP at IoU .5, the mean over phrases; -1 where there is none.
        pooled_50: AP at IoU .5 of all (picture, phrase) questions in one ranking, those about absent phrases of this
            sort among them: low where the scores of different phrases cannot be compared.
        phrases: Different phrases with a true box.
        boxes: True boxes.
    """

    map_50: float
    pooled_50: float
    phrases: int
    boxes: int


def row_of(phrase: Phrase) -> str:
    """Return the sort of a phrase: 'kind' alone, 'attribute' (colour, texture or size), or 'relation'."""
    if phrase.relation is not None:
        return "relation"
    return "kind" if phrase == Phrase(phrase.kind) else "attribute"


def ask_scene(seed: int, index: int, split: Split, size: tuple[int, int], num_absent: int) -> Question:
    """Draw a scene and choose what it is asked for; both follow from the arguments alone.

    Args:
        seed: Of the world.
        index: Number of the scene.
        split: Whose scene.
        size: Height and width, px.
        num_absent: Phrases that are true of nothing.
    """
    scene = draw_scene(seed, index, split, size)
    rng = np.random.default_rng((seed, index))
    true = tuple((grounded.phrase, grounded.objects) for grounded in naming(scene, rng))
    return Question(scene, true + tuple((phrase, ()) for phrase in absent(scene, num_absent, rng)))


def answer(
    detector: GroundingDetector, tokenizer: Tokenizer, questions: Iterable[Question], batch_size: int = 16
) -> Iterator[Answer]:
    """Detect the phrases of each scene; all scenes have one size. The detector is put into evaluation mode.

    Raises:
        PromptError: If the phrases of a scene do not fit into one prompt.
    """
    detector.eval()
    batch: list[Question] = []
    number = 0
    for question in questions:
        batch.append(question)
        if len(batch) == batch_size:
            yield from _answer_batch(detector, tokenizer, batch, number)
            number += len(batch)
            batch = []
    if batch:
        yield from _answer_batch(detector, tokenizer, batch, number)


def score_row(answers: Sequence[Answer]) -> RowScore:
    """Score the answers about phrases of one sort."""
    names = list(dict.fromkeys(answer.phrase.text for answer in answers if len(answer.truth)))
    place = {name: index for index, name in enumerate(names)}
    by_phrase, pooled = CocoMeanAveragePrecision(names), CocoMeanAveragePrecision(["phrase"])
    pictures: dict[int, list[Answer]] = {}
    for number, each in enumerate(answers):
        pooled.update([_labelled([each], [0])], [_target(number, [each], [0])])
        if each.phrase.text in place:
            pictures.setdefault(each.picture, []).append(each)
    for number, group in pictures.items():
        labels = [place[each.phrase.text] for each in group]
        by_phrase.update([_labelled(group, labels)], [_target(number, group, labels)])
    return RowScore(
        map_50=float(by_phrase.compute()["map_50"]) if names else -1.0,
        pooled_50=float(pooled.compute()["map_50"]) if names else -1.0,
        phrases=len(names),
        boxes=sum(len(each.truth) for each in answers),
    )


def score_world(answers: Sequence[Answer], threshold: float) -> dict[str, float]:
    """Score the answers to one sort of scenes.

    Args:
        answers: All of them.
        threshold: Score from which a box counts as found.

    Returns:
        `map_50/<row>` for each of `ROWS`, then `pooled_50/<row>` for each, then `quiet`: the `quiet_share`.
    """
    rows = {row: score_row([each for each in answers if row_of(each.phrase) == row]) for row in ROWS}
    return {
        **{f"map_50/{name}": row.map_50 for name, row in rows.items()},
        **{f"pooled_50/{name}": row.pooled_50 for name, row in rows.items()},
        "quiet": quiet_share(answers, threshold),
    }


def quiet_share(answers: Sequence[Answer], threshold: float) -> float:
    """Share of absent phrases of which no box scores `threshold` or more; 1 where none was asked for."""
    best = [each.best for each in answers if not len(each.truth)]
    return sum(score < threshold for score in best) / len(best) if best else 1.0


@torch.no_grad()
def _answer_batch(
    detector: GroundingDetector, tokenizer: Tokenizer, batch: Sequence[Question], first: int
) -> Iterator[Answer]:
    height, width, _ = batch[0].scene.image.shape
    canvas = canvas_of(width, height, MULTIPLE)
    placed = [normalise_on_canvas(question.scene.image, canvas) for question in batch]
    pixels, mask = (torch.stack(part) for part in zip(*placed, strict=True))
    prompts = PromptBatch.of([build_prompt([p.text for p, _ in each.asked], tokenizer) for each in batch])
    like = next(detector.parameters())
    every = max(len(question.asked) for question in batch) * detector.model.config.num_queries
    found = Asker(top_k=every).detect(
        detector, pixels.to(like), mask.to(like.device), [prompts], [(width, height)] * len(batch)
    )
    for number, (question, each) in enumerate(zip(batch, found, strict=True), start=first):
        for label, (phrase, things) in enumerate(question.asked):
            corners = [question.scene.objects[thing].box_px for thing in things]
            truth = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
            yield Answer(number, phrase, truth, each.select(each.labels == label).cpu(), (width, height))


def _labelled(answers: Sequence[Answer], labels: Sequence[int]) -> Detections:
    return Detections(
        torch.cat([each.found.boxes for each in answers]),
        torch.cat([each.found.scores for each in answers]),
        torch.cat([torch.full((len(each.found),), label) for each, label in zip(answers, labels, strict=True)]),
    )


def _target(number: int, answers: Sequence[Answer], labels: Sequence[int]) -> Target:
    boxes = torch.cat([each.truth for each in answers])
    counts = torch.tensor([len(each.truth) for each in answers])
    width, height = answers[0].size
    return Target(
        image_id=number,
        image_path=f"scene {answers[0].picture}",
        width=width,
        height=height,
        boxes=xyxy_px_to_cxcywh_norm(boxes, width, height),
        labels=torch.tensor(labels).repeat_interleave(counts),
        boxes_px=boxes,
    )
