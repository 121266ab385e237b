"""`gdino phrases`: which wording of each class finds it best, before anything is trained."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentParser
from lightning.fabric import Fabric
from tqdm import tqdm

from gdino_lightning.cli.parsers import LineParser, OneLineErrors
from gdino_lightning.cli.phrase_check import check_phrases, check_texts, read_mapping
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.data.batch import Batch
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import ConfigError, PromptError, listed
from gdino_lightning.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_map
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.evaluation.wordings import WordingScore, ask_pictures, compare_wordings
from gdino_lightning.files import write_atomic
from gdino_lightning.prompt import Prompt, Vocabulary, class_phrases
from gdino_lightning.training.module import GroundingDinoModule
from gdino_lightning.training.settings import check_prompt_tokens

HEADER = "# Written by `gdino phrases`: the wording of each class that found it best, zero-shot on validation.\n"

Candidates = dict[str, tuple[str, ...]]  # class name -> its wordings, in the order of the class indices
Wordings = dict[str, str]  # class name -> one of them


class _Trials(NamedTuple):
    """What is asked about the pictures, and by which question each wording is scored.

    Attributes:
        questions: Prompts; first those of all first wordings, then one for each other wording.
        places: For each class, the question of each of its wordings.
    """

    questions: list[Prompt]
    places: list[list[int]]


def run_phrases(arguments: Sequence[str]) -> int:
    """Score alternative wordings of the classes on the validation part, print a table and write the best ones."""
    options = _parser().parse_args(arguments)
    output = options.output or options.candidates.with_name(f"{options.candidates.stem}-chosen.yaml")
    _check_output(output)
    model, data, trainer = _read_configs(options.config)
    if options.weights:
        model["weights"] = options.weights
    if options.root:
        data |= {"root": options.root, "source": None}
    candidates = _read_candidates(options.candidates, class_phrases(model.get("phrases") or {}))
    quiet()
    try:
        scorer = _Scorer(candidates, model, data, trainer)
        trials = scorer.trials()
    except PromptError as error:
        raise PromptError(f"{options.candidates}: {error}") from error
    chosen = _choose(candidates, trials, scorer.found([[prompt] for prompt in trials.questions]))
    first = _first(candidates)
    if chosen == first:
        print("the first wording of every class is chosen")
    else:
        before, after = scorer.found([scorer.prompts(first), scorer.prompts(chosen)])
        _compare(before, after, len(candidates))
    text = yaml.safe_dump({"model": {"phrases": chosen}}, sort_keys=False, allow_unicode=True)
    write_atomic(output, f"{HEADER}{text}".encode())
    configs = " ".join(f"--config {path}" for path in (*options.config, output))
    print(f"chosen wordings: {output}\nnext: gdino fit {configs}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino phrases",
        description="Score alternative wordings of each class zero-shot on the validation part, never on the test "
        "split, and write the best ones as a configuration. A wording is scored by the AP of its class, with the other "
        "classes at their first wordings: a phrase is encoded alike whatever stands beside it, but image and text "
        "look at each other as a whole, so neighbours matter a little. So at the end the first wordings are compared "
        "with the chosen ones together. What is chosen was fitted to these pictures: expect less gain on others, and "
        "none where the table says noise.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--candidates",
        type=Path,
        required=True,
        help="YAML file, `class: [wording, wording]` a line, the present wording first; a class that is not in it "
        "keeps the one it has",
    )
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        required=True,
        help="configuration as for `gdino fit`; its classes, weights and validation part count; may be repeated, "
        "later ones win",
    )
    parser.add_argument("--weights", help="score these weights, not those of the configuration")
    parser.add_argument("--root", help="folder of a prepared dataset, in place of data.root")
    parser.add_argument(
        "--output", type=Path, help="file to write, <candidates>-chosen.yaml where not given; only its own is replaced"
    )
    return parser


def _check_output(path: Path) -> None:
    if path.is_dir() or (path.exists() and not path.read_bytes().startswith(HEADER.encode())):
        raise ConfigError(f"{path}: is there and was not written by `gdino phrases`; choose another --output")


def _read_configs(paths: Sequence[Path]) -> tuple[dict[str, Any], ...]:
    """Return the sections `model`, `data` and `trainer`; of a key that is given twice the last value counts."""
    check_phrases([f"--config={path}" for path in paths])
    sections: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "trainer": {}}
    for path in paths:
        written = read_mapping(path, "a configuration with the sections model and data")
        for name, section in sections.items():
            given = written.get(name)
            section |= given if isinstance(given, dict) else {}
    return tuple(sections.values())


def _read_candidates(path: Path, present: Mapping[str, str]) -> Candidates:
    """Return the wordings of every class.

    Args:
        path: What the user wrote.
        present: Class name -> wording of the configuration.

    Raises:
        ConfigError: The file is missing, or is no YAML of the right form.
        PromptError: A class is unknown, or a wording is empty, no text, or there twice.
    """
    written = read_mapping(path, "a YAML file of `class: [wording, wording]` lines")
    check_texts(dict.fromkeys(written), str(path))
    if unknown := [name for name in written if name not in present]:
        raise PromptError(
            f"{path}: {listed(map(str, unknown))} is no class of the configuration, which has {listed(present)}; "
            "correct the name"
        )
    candidates = {name: _wordings(written.get(name, own), f"{path}: {name}") for name, own in present.items()}
    owners: dict[str, str] = {}
    for name, wording in ((name, each) for name, wordings in candidates.items() for each in wordings):
        if other := owners.get(wording.lower()):
            where = f"twice in {name}" if other == name else f"in {other} and in {name}"
            raise PromptError(f"{path}: the wording {wording!r} is {where}; leave it in one place")
        owners[wording.lower()] = name
    return candidates


def _wordings(written: object, where: str) -> tuple[str, ...]:
    texts = [written] if isinstance(written, str) else written
    if not isinstance(texts, list) or not texts:
        raise ConfigError(f"{where}: has no list of wordings; write `[wording, wording]`, or leave the class out")
    check_texts(texts, where)
    folded = tuple(" ".join(text.split()) for text in texts)
    if not all(folded):
        raise PromptError(f"{where}: has an empty wording; give it at least one word")
    return folded


def _first(candidates: Candidates) -> Wordings:
    return {name: wordings[0] for name, wordings in candidates.items()}


class _Scorer:
    """Asks the pictures of the validation part."""

    def __init__(
        self, candidates: Candidates, model: dict[str, Any], data: dict[str, Any], trainer: dict[str, Any]
    ) -> None:
        self._candidates = candidates
        first = _first(candidates)
        parser = _Parser(prog="gdino phrases", exit_on_error=False)
        parser.add_class_arguments(GroundingDinoModule, "model")
        parser.add_class_arguments(DetectionDataModule, "data")
        given = {"model": model | {"phrases": first, "lora": None}, "data": data | {"phrases": first}}
        settings = parser.parse_object(given)
        if settings.data.val == "test":
            raise ConfigError(
                "data.val is test: wordings are never chosen on the test split; set it to a fraction, such as 0.1"
            )
        built = parser.instantiate_classes(settings)
        module: GroundingDinoModule = built.model
        self._fabric = _fabric(trainer)
        self._fabric.to_device(module.detector.eval())  # in place
        self._detector, self._asker, self._tokenizer = module.detector, module.asker, module.tokenizer
        self._max_tokens = check_prompt_tokens(settings.model.prompt_tokens, self._detector.model.config.max_text_len)
        self._data: DetectionDataModule = built.data

    def prompts(self, wordings: Wordings) -> list[Prompt]:
        """Return the prompts that ask for all classes."""
        return Vocabulary(list(wordings.values()), self._tokenizer).chunks(self._max_tokens)

    def trials(self) -> _Trials:
        """Return the questions that score every wording beside the first ones of the other classes.

        Raises:
            PromptError: A wording is unknown to the tokenizer or too long, or two are the same to it.
        """
        Vocabulary([each for wordings in self._candidates.values() for each in wordings], self._tokenizer)
        first = _first(self._candidates)
        questions = self.prompts(first)
        place_of = {label: place for place, prompt in enumerate(questions) for label in prompt.classes}
        places = []
        for label, (name, (_, *others)) in enumerate(self._candidates.items()):
            places.append([place_of[label], *range(len(questions), len(questions) + len(others))])
            for wording in others:
                # of several prompts, only the one with the class can find it
                questions += [each for each in self.prompts(first | {name: wording}) if label in each.classes]
        return _Trials(questions, places)

    def found(self, questions: Sequence[Sequence[Prompt]]) -> list[list[PictureRecord]]:
        """Return what each question finds in the validation part."""
        with self._fabric.autocast():
            return ask_pictures(self._detector, self._asker, self._batches(), questions, list(self._candidates))

    def _batches(self) -> Iterator[Batch]:
        self._data.prepare_data()
        self._data.setup("validate")
        for batch in tqdm(self._data.val_dataloader(), desc="validation", unit="batch", leave=False):
            yield self._fabric.to_device(batch)


def _fabric(trainer: Mapping[str, Any]) -> Fabric:
    """Return what places model and pictures as the trainer of the configuration would."""
    try:
        return Fabric(accelerator=trainer.get("accelerator") or "auto", devices=1, precision=trainer.get("precision"))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"trainer: {str(error).splitlines()[0]}") from error


class _Parser(OneLineErrors, ArgumentParser):
    """jsonargparse with errors in one line."""


def _choose(candidates: Candidates, trials: _Trials, found: Sequence[Sequence[PictureRecord]]) -> Wordings:
    """Print how well each wording does, and return the best one of each class."""
    print("| class | wording | AP | ± standard error | AP50 | verdict: AP [95 % interval] |\n|---|---|---|---|---|---|")
    chosen = {}
    for label, (name, wordings) in enumerate(candidates.items()):
        scores = compare_wordings([found[place] for place in trials.places[label]], label)
        for wording, score in zip(wordings, scores, strict=True):
            print(f"| {name} | {wording} | {_cells(score)} |")
            if score.less is None:
                chosen[name] = wording
    return chosen


def _cells(row: WordingScore) -> str:
    numbers = (row.score.map.value, row.score.map.error, row.score.map_50.value)
    return " | ".join([*(f"{number:.3f}" for number in numbers), row.verdict])


def _compare(first: Sequence[PictureRecord], chosen: Sequence[PictureRecord], num_classes: int) -> None:
    print("\n| all classes | mAP [95 % interval] | mAP50 |\n|---|---|---|")
    rows = {
        "first wordings": bootstrap_map(first, num_classes),
        "chosen wordings": bootstrap_map(chosen, num_classes),
        "chosen less first": bootstrap_difference(first, chosen, num_classes),
    }
    for name, estimate in rows.items():
        print(f"| {name} | {_interval(estimate.map)} | {_interval(estimate.map_50)} |")
    if rows["chosen less first"].map.low <= 0:
        print("no gain is shown: the interval of the difference in mAP holds 0")


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
