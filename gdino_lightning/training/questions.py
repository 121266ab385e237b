"""Which words a batch is asked about: sampled prompts in training, all classes in evaluation, captions as they are.

A picture that brings phrases of its own is asked for those: for the classes of a further dataset as for the model's,
for phrases of the picture alone all at once.

Letters: B pictures, N boxes in a picture, T text tokens, P phrases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.errors import ConfigError, PromptError
from gdino_lightning.prompt import Caption, Prompt, PromptBatch, Vocabulary, build_caption_prompt
from gdino_lightning.training.matcher import Truth


@dataclass
class Question:
    """Prompts for the pictures of a batch, and which boxes they ask about.

    Attributes:
        prompts: One prompt for all pictures, or one for each.
        boxes: For each picture the indices of the boxes that its prompt asks for, (N,) int64.
        phrases: For each picture which phrases those boxes answer to, (N, P) bool.
    """

    prompts: PromptBatch
    boxes: list[Tensor]
    phrases: list[Tensor]

    def truths(self, targets: Sequence[Target], *, special_tokens_negative: bool) -> list[Truth]:
        """Say what the pictures should give.

        Args:
            targets: B targets.
            special_tokens_negative: [CLS], [SEP] and delimiters count as words that no box answers to, as in the
                published trainers; else they take no part in matching and loss.
        """
        prompts = self.prompts.expand(len(targets))
        counted = prompts.token_mask if special_tokens_negative else prompts.word_mask
        truths = []
        for b, (target, kept, phrases) in enumerate(zip(targets, self.boxes, self.phrases, strict=True)):
            tokens = phrases.float() @ prompts.phrase_map[b].float()
            truths.append(Truth(target.boxes[kept], tokens > 0, counted[b]))
        return truths


@dataclass
class AskedBatch(Batch):
    """A batch with its questions: one in training, one for each chunk of classes in evaluation."""

    questions: list[Question] = field(default_factory=list)


class Questioner:
    """Draws the prompts.

    Args:
        phrases: Wordings, in class order.
        tokenizer: The model's tokenizer.
        negatives: Absent classes in a training prompt, beside the present ones; None for all that fit.
        max_tokens: Tokens of a prompt, specials included.

    Raises:
        PromptError: If a phrase cannot be used or is too long.
    """

    def __init__(self, phrases: Sequence[str], tokenizer: Tokenizer, negatives: int | None, max_tokens: int) -> None:
        self._vocabulary = Vocabulary(phrases, tokenizer)
        self._tokenizer = tokenizer
        self._negatives = negatives
        self._max_tokens = max_tokens
        self._further: dict[tuple[str, ...], Vocabulary] = {}
        self.chunks = self._vocabulary.chunks(max_tokens)

    def add_classes(self, phrases: Sequence[str]) -> None:
        """Tokenize the classes of a further dataset, for pictures that bring these very phrases.

        Raises:
            PromptError: If a phrase cannot be used or is too long.
        """
        vocabulary = Vocabulary(phrases, self._tokenizer)
        vocabulary.check_each_fits(self._max_tokens)
        self._further[tuple(phrases)] = vocabulary

    def for_training(self, batch: Batch, seed: int, epoch: int) -> AskedBatch:
        """Ask each picture for its own classes and sampled absent ones, shuffled; a captioned picture for its caption.

        Classes of a further dataset are sampled likewise; of a picture's own phrases all are asked for that fit: who
        gave them has sampled already.

        A draw follows from seed, epoch and image id alone, so a resumed run asks as an unbroken one.
        """
        prompts = [
            self._draw(target, np.random.default_rng((seed, epoch, target.image_id))) for target in batch.targets
        ]
        return _asked(batch, [_question(batch.targets, prompts)])

    def for_evaluation(self, batch: Batch) -> AskedBatch:
        """Ask every picture for all classes, in as few chunks as they fit in.

        Raises:
            ConfigError: If a picture carries a caption or phrases, which are no classes.
        """
        if any(target.caption or target.phrases for target in batch.targets):
            raise ConfigError(
                "captions and phrases of single pictures are for training: validation and test score the classes"
            )
        return _asked(batch, [_question(batch.targets, [chunk] * len(batch.targets)) for chunk in self.chunks])

    def prompts(self, phrases: Sequence[str]) -> list[Prompt]:
        """Return the prompts that ask for other phrases than the classes', in as few chunks as they fit in.

        Raises:
            PromptError: If a phrase cannot be used or is too long.
        """
        return Vocabulary(phrases, self._tokenizer).chunks(self._max_tokens)

    def check(self, captions: Mapping[str, Caption]) -> None:
        """Tokenize captions, given by the place where they stand.

        Raises:
            PromptError: If one is too long or a phrase of it unknown; it names the place.
        """
        for place, caption in captions.items():
            try:
                self.caption_prompt(caption)
            except PromptError as error:
                raise PromptError(f"{place}: {error}") from error

    def caption_prompt(self, caption: Caption) -> Prompt:
        """Return the prompt of a caption; raises PromptError if it cannot be used."""
        return build_caption_prompt(caption, self._tokenizer, self._max_tokens)

    def _draw(self, target: Target, rng: np.random.Generator) -> Prompt:
        if target.caption:
            return self.caption_prompt(target.caption)
        if target.phrases in self._further:
            further = self._further[target.phrases]
            return further.sample(target.labels.tolist(), self._negatives, self._max_tokens, rng)
        if target.phrases:
            own = Vocabulary(target.phrases, self._tokenizer)
            own.check_each_fits(self._max_tokens)
            return own.sample(target.labels.tolist(), None, self._max_tokens, rng)
        return self._vocabulary.sample(target.labels.tolist(), self._negatives, self._max_tokens, rng)


def _asked(batch: Batch, questions: list[Question]) -> AskedBatch:
    return AskedBatch(**{each.name: getattr(batch, each.name) for each in fields(Batch)}, questions=questions)


def _question(targets: Sequence[Target], prompts: Sequence[Prompt]) -> Question:
    batch = PromptBatch.of(prompts)
    width = batch.classes.shape[1]
    answers = [_answers(target, prompt, width) for target, prompt in zip(targets, prompts, strict=True)]
    return Question(batch, [boxes for boxes, _ in answers], [phrases for _, phrases in answers])


def _answers(target: Target, prompt: Prompt, width: int) -> tuple[Tensor, Tensor]:
    """Which boxes of a picture its prompt asks for, (N,) int64, and for which phrases, (N, `width`) bool.

    A box that a caption names more than once, "a man" who is "a man in a red coat", is one object: it answers to all.
    """
    row_of = {index: row for row, index in enumerate(prompt.classes)}
    objects: dict[object, tuple[int, list[int]]] = {}
    for box, (label, corners) in enumerate(zip(target.labels.tolist(), target.boxes.tolist(), strict=True)):
        if label in row_of:
            _, rows = objects.setdefault(tuple(corners) if target.caption else box, (box, []))
            rows.append(row_of[label])
    phrases = torch.zeros(len(objects), width, dtype=torch.bool)
    for index, (_, rows) in enumerate(objects.values()):
        phrases[index, rows] = True
    return torch.tensor([box for box, _ in objects.values()], dtype=torch.int64), phrases
