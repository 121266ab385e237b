"""Words through the LightningModule, the data module and a real Trainer."""

import math
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from ranks import on_ranks

from gdino_lightning.data.batch import Batch
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import CheckpointError
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.nano import random_nano
from gdino_lightning.prompt import build_prompt
from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.module import GroundingDinoModule
from tests.model.test_pretrained import write_folder
from tests.training.test_module import PHRASES, data, rows, trainer

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SHORT = {"num_sanity_val_steps": 0, "limit_val_batches": 1}
EPOCHS = {"negatives": 1, "denoising_queries": 10, "schedule": "constant"}
KINDS = ["mask", "face mask", "red face mask", "dog", "small dog", "a man"]
LVIS = {**PHRASES, **{f"thing_{i}": f"{KINDS[i % len(KINDS)]} {i}" for i in range(1200)}}


class Record(Callback):
    """What training asks: the classes of each picture's prompt, its length, and the modes of the network's parts."""

    def __init__(self) -> None:
        self.asked: dict[tuple[int, str], tuple[int, ...]] = {}
        self.labels: dict[str, set[int]] = {}
        self.tokens: list[int] = []
        self.modes: list[dict[str, bool]] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        core = module.detector.model.model
        parts = {"text": core.text_backbone, "backbone": core.backbone, "decoder": core.decoder.layers[0]}
        self.modes.append({name: part.training for name, part in parts.items()})
        (question,) = batch.questions
        for target, prompt in zip(batch.targets, question.prompts.prompts, strict=True):
            self.asked[trainer.current_epoch, target.image_path] = prompt.classes
            self.labels[target.image_path] = set(target.labels.tolist())
            self.tokens.append(len(prompt.input_ids))


def recording(run: Path, epochs: int = 1, **settings) -> tuple[Trainer, Record]:
    made, record = trainer(run, epochs, **settings), Record()
    made.callbacks.append(record)
    return made, record


def quiet(**settings) -> Trainer:
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", use_distributed_sampler=False, **{**off, **settings})


def watch_text(module: GroundingDinoModule) -> list[tuple[int, ...]]:
    """Every block that the text encoder is given from now on."""
    encoded: list[tuple[int, ...]] = []
    core = module.detector.model.model
    core.text_backbone.register_forward_pre_hook(
        lambda _, inputs: encoded.extend(tuple(filter(None, row)) for row in inputs[0].tolist())
    )
    return encoded


def same_weights(one: GroundingDinoModule, other: GroundingDinoModule) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def saved(run: Path, name: str = "last") -> Path:
    return run / "checkpoints" / f"{name}.ckpt"


@pytest.mark.slow
def test_a_resumed_run_draws_the_same_negatives_and_noise_and_ends_with_the_same_weights(drawn, tmp_path):
    seed_everything(3)
    straight, stopped, resumed = (GroundingDinoModule(PHRASES, **EPOCHS) for _ in range(3))
    whole, all_asked = recording(tmp_path / "a", 2)
    whole.fit(straight, data(drawn))
    first, half = recording(tmp_path / "b", 1)
    first.fit(stopped, data(drawn))
    torch.manual_seed(99)  # another process has another random state
    second, rest = recording(tmp_path / "b", 2)
    second.fit(resumed, data(drawn), ckpt_path=saved(tmp_path / "b"))
    assert half.asked | rest.asked == all_asked.asked
    assert same_weights(straight, resumed)
    epochs = [{path: classes for (e, path), classes in all_asked.asked.items() if e == epoch} for epoch in (0, 1)]
    assert epochs[0].keys() == epochs[1].keys()
    assert len(epochs[0]) == 12
    assert epochs[0] != epochs[1]
    for path, classes in [*epochs[0].items(), *epochs[1].items()]:
        assert all_asked.labels[path] <= set(classes)
        assert len(classes) == min(3, len(all_asked.labels[path]) + 1)
    for row in (row for row in rows(tmp_path / "b") if row["train/loss"]):
        parts = sum(float(row[f"train/loss_{part}"]) for part in ("ce", "bbox", "giou", "dn"))
        assert float(row["train/loss"]) == pytest.approx(parts, rel=1e-5)
        assert float(row["train/loss_dn"]) > 0
    logged = {key for row in rows(tmp_path / "b") for key, value in row.items() if value} - {"epoch", "step"}
    assert logged == set(straight.metric_names())


def test_a_frozen_text_encoder_is_in_evaluation_mode_and_sees_each_phrase_once_in_a_fit(drawn, tmp_path):
    module = GroundingDinoModule(PHRASES, negatives=1)
    encoded = watch_text(module)
    fit, record = recording(tmp_path, max_steps=3, **SHORT)
    fit.fit(module, data(drawn))
    assert record.modes == [{"text": False, "backbone": True, "decoder": True}] * 3
    assert Counter(encoded).most_common(1)[0][1] == 1
    assert len(encoded) == len(PHRASES) + 2


def test_weights_that_come_in_evaluation_mode_train_in_training_mode(drawn, tmp_path):
    """transformers loads folders so, and Lightning leaves modes as they are."""
    folder = write_folder(tmp_path / "weights", random_nano())
    module = GroundingDinoModule(PHRASES, weights=str(folder), freeze=[], dropout=0.1)
    fit, record = recording(tmp_path / "run", max_steps=2, **SHORT)
    fit.fit(module, data(drawn))
    assert record.modes == [{"text": True, "backbone": True, "decoder": True}] * 2


def test_the_validation_loss_of_chunks_is_the_sum_of_each_asked_alone(drawn):
    module = GroundingDinoModule(PHRASES, prompt_tokens=6)
    assert len(module.questioner.chunks) == 3
    (scores,) = quiet().validate(module, data(drawn), verbose=False)
    by_hand = data(drawn)
    by_hand.setup("validate")
    totals, pictures = 0.0, 0
    for batch in by_hand.val_dataloader():
        boxes = sum(len(target.boxes) for target in batch.targets)
        pictures += len(batch.targets)
        for label, phrase in enumerate(PHRASES.values()):
            prompt = build_prompt([phrase], module.tokenizer)
            own = [target.boxes[target.labels == label] for target in batch.targets]
            seen = torch.ones(len(prompt.input_ids), dtype=torch.bool)
            truths = [Truth(each, prompt.phrase_map.expand(len(each), -1), seen) for each in own]
            with torch.no_grad():
                outputs = module.detector(batch.pixels, batch.pixel_mask, prompt)
            loss = SetCriterion()(outputs.logits, outputs.boxes, truths).total * max(1, sum(map(len, own))) / boxes
            totals += float(loss) * len(batch.targets)
    assert scores["val/loss"] == pytest.approx(totals / pictures, rel=1e-5)


class Answers(Callback):
    """The batches of a test and what was found in them."""

    def __init__(self) -> None:
        self.found: list[tuple[Batch, list[Detections]]] = []

    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.found.append((batch, outputs["detections"]))


@dataclass
class Run:
    """A fit of two steps and a test of one batch, and what the encoders saw."""

    module: GroundingDinoModule
    record: Record
    scores: dict[str, float]
    batch: Batch
    found: list[Detections]
    pictures_in_test: list[int]
    blocks_in_test: list[tuple[int, ...]]
    blocks: list[tuple[int, ...]]


@pytest.fixture(scope="module")
def lvis(drawn) -> Run:
    module = GroundingDinoModule(LVIS, warmup_steps=0)
    sizes = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "batch_size": 2}
    pictures = DetectionDataModule(str(drawn), LVIS, num_workers=0, val="test", **sizes)
    blocks, in_test, record, answers = watch_text(module), [], Record(), Answers()
    run = quiet(callbacks=[record, answers], max_steps=2, limit_val_batches=0, limit_test_batches=1)
    run.fit(module, pictures)
    assert math.isfinite(run.callback_metrics["train/loss"])
    blocks_in_test = watch_text(module)
    backbone = module.detector.model.model.backbone
    backbone.register_forward_pre_hook(lambda _, inputs: in_test.append(len(inputs[0])))
    (scores,) = run.test(module, pictures, verbose=False)
    ((batch, found),) = answers.found
    # the module goes on to be used
    return Run(module, record, scores, batch, found, list(in_test), list(blocks_in_test), list(blocks))


@pytest.mark.slow
def test_1203_classes_are_sampled_in_training(lvis):
    assert len(lvis.module.class_names) == 1203
    assert len(lvis.record.tokens) == 4
    assert 240 < min(lvis.record.tokens) <= max(lvis.record.tokens) <= 256
    assert all(lvis.record.labels[path] <= set(classes) for (_, path), classes in lvis.record.asked.items())
    trained = lvis.module.detector.model.model.enc_output.weight
    assert not torch.equal(trained, random_nano().model.enc_output.weight)


@pytest.mark.slow
def test_1203_classes_are_tested_in_chunks_that_equal_each_chunk_alone(lvis):
    chunks = [prompt.classes for prompt in lvis.module.questioner.chunks]
    assert sorted(index for classes in chunks for index in classes) == list(range(1203))
    wordings = list(lvis.module.phrases.values())
    alone: list[list[tuple[float, int]]] = [[] for _ in lvis.found]
    for classes in chunks:
        prompt = build_prompt([wordings[index] for index in classes], lvis.module.tokenizer)
        with torch.no_grad():
            outputs = lvis.module.detector(lvis.batch.pixels, lvis.batch.pixel_mask, prompt)
        for row, label in zip(prompt.phrase_map, classes, strict=True):
            scores = outputs.final_logits[..., row].sigmoid().mean(-1)
            for picture, own in zip(alone, scores.tolist(), strict=True):
                picture += [(score, label) for score in own]
    for found, pairs in zip(lvis.found, alone, strict=True):
        best = sorted(pairs, key=lambda pair: -pair[0])[:300]
        assert len({label for _, label in best}) > 3
        assert found.scores.tolist() == pytest.approx([score for score, _ in best], rel=1e-4)
        assert sorted(found.labels.tolist()) == sorted(label for _, label in best)
    assert math.isfinite(lvis.scores["test/loss"])
    assert {"test/map", "test/map/with_mask"} <= lvis.scores.keys()


@pytest.mark.slow
def test_for_1203_classes_a_picture_is_encoded_once_and_so_is_each_phrase(lvis):
    assert lvis.pictures_in_test == [2]
    assert len(set(lvis.blocks_in_test)) == len(lvis.blocks_in_test) <= 1205
    assert len(lvis.blocks) == len(set(lvis.blocks)) == 1205  # the fit's included, as the text encoder is frozen


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=[pytest.mark.gpu, NEEDS_CUDA])])
def test_mixed_precision_starts_where_single_precision_does(drawn, tmp_path, accelerator):
    settings = {"negatives": 1, "denoising_queries": 10, "gradient_checkpointing": True}
    losses: dict[str, list[float]] = {}
    for precision in ("32-true", "bf16-mixed"):
        seed_everything(0)
        module = GroundingDinoModule(PHRASES, warmup_steps=0, **settings)
        fit = trainer(tmp_path / precision, max_steps=3, precision=precision, accelerator=accelerator, **SHORT)
        fit.fit(module, data(drawn))
        losses[precision] = [float(row["train/loss"]) for row in rows(tmp_path / precision) if row["train/loss"]]
    assert len(losses["bf16-mixed"]) == 3
    assert all(map(math.isfinite, losses["bf16-mixed"]))
    assert losses["bf16-mixed"][0] == pytest.approx(losses["32-true"][0], rel=0.03)


def _fit_on_rank(rank: int, root: Path, settings: dict[str, object]) -> dict[str, object]:
    seed_everything(0)
    module, record = GroundingDinoModule(PHRASES, warmup_steps=0, **settings), Record()
    fit = quiet(max_steps=3, limit_val_batches=0, strategy="ddp", devices=2, callbacks=[record])
    fit.fit(module, data(root, batch_size=2))
    return {"weights": module.state_dict(), "asked": record.asked}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"negatives": 1, "denoising_queries": 4, "gradient_checkpointing": True},
        {"fusion": False, "text_cross_attention": False, "text_guided_queries": False},
    ],
    ids=["other prompts on each rank", "parts without a gradient"],
)
def test_two_processes_end_with_the_same_weights(drawn, settings):
    one, other = on_ranks(_fit_on_rank, drawn, settings)
    assert one["weights"].keys() == other["weights"].keys()
    assert all(torch.equal(weight, other["weights"][name]) for name, weight in one["weights"].items())
    assert not one["asked"].keys() & other["asked"].keys()
    start = random_nano().state_dict()["model.enc_output.weight"]
    assert not torch.equal(one["weights"]["detector.model.model.enc_output.weight"], start)


ANCHORS = "detector.model.model.reference_points.weight"


@pytest.fixture(scope="module")
def anchored(drawn, tmp_path_factory) -> Path:
    """A run of one epoch from learned anchors."""
    folder = tmp_path_factory.mktemp("anchored")
    seed_everything(0)
    module = GroundingDinoModule(PHRASES, text_guided_queries=False, schedule="constant", warmup_steps=0)
    start = module.state_dict()[ANCHORS].clone()
    trainer(folder).fit(module, data(drawn))
    assert not torch.equal(module.state_dict()[ANCHORS], start)
    return folder


def test_learned_anchors_are_saved_and_are_where_another_run_starts(anchored):
    learned = torch.load(saved(anchored), weights_only=True)["state_dict"][ANCHORS]
    again = GroundingDinoModule(PHRASES, weights=str(saved(anchored, "best")), text_guided_queries=False)
    assert torch.equal(again.state_dict()[ANCHORS], learned)
    loaded = GroundingDinoModule.load_from_checkpoint(saved(anchored, "best"), weights_only=True)
    assert torch.equal(loaded.state_dict()[ANCHORS], learned)
    assert not loaded.switches.text_guided_queries
    with pytest.raises(CheckpointError, match=re.escape("add --model.text_guided_queries false")):
        GroundingDinoModule(PHRASES, weights=str(saved(anchored, "best")))


def test_a_run_from_learned_anchors_is_resumed_to_the_bit(anchored, drawn, tmp_path):
    settings = {"text_guided_queries": False, "schedule": "constant", "warmup_steps": 0}
    seed_everything(0)
    straight, resumed = GroundingDinoModule(PHRASES, **settings), GroundingDinoModule(PHRASES, **settings)
    trainer(tmp_path / "a", 2).fit(straight, data(drawn))
    shutil.copytree(anchored, tmp_path / "b")
    again = trainer(tmp_path / "b", 2)
    again.fit(resumed, data(drawn), ckpt_path=saved(tmp_path / "b"))
    assert same_weights(straight, resumed)
    learning = {id(parameter) for group in again.optimizers[0].param_groups for parameter in group["params"]}
    assert id(resumed.detector.model.model.reference_points.weight) in learning


def test_a_run_without_anchors_is_not_resumed_with_them(anchored, drawn, tmp_path):
    seed_everything(0)
    trainer(tmp_path).fit(GroundingDinoModule(PHRASES), data(drawn))
    other = GroundingDinoModule(PHRASES, text_guided_queries=False)
    with pytest.raises(CheckpointError, match="text_guided_queries"):
        trainer(tmp_path, 2).fit(other, data(drawn), ckpt_path=saved(tmp_path))
