"""The LightningModule: steps, logging and optimizer; network, objective and scores live in their own rooms."""

import logging
import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.postprocess import Detections, ScoreOf, postprocess
from gdino_lightning.model.detector import GroundingDetector, StageOutputs
from gdino_lightning.model.pretrained import (
    CHECKPOINT_KEY,
    Pretrained,
    build_described,
    check_same_phrases,
    describe,
    load_pretrained,
    set_dropout,
)
from gdino_lightning.prompt import build_prompt, class_phrases
from gdino_lightning.training.criterion import ClassWeights, Losses, SetCriterion
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.optimizer import (
    ParameterGroup,
    Part,
    Schedule,
    build_optimizer,
    is_unused,
    parameter_groups,
    part_of,
    refresh_groups,
    schedule_factor,
)

logger = logging.getLogger(__name__)


class GroundingDinoModule(LightningModule):
    """Fine-tunes Grounding DINO on the classes of one prompt.

    Args:
        phrases: Class name -> wording the model reads (empty: the name, underscores as spaces), or class names alone.
            Their order is the order of the class indices. Saved in every checkpoint.
        weights: Where training starts: `nano` (a miniature for CPUs), a hub id, a Hugging Face folder, a Lightning
            checkpoint or a run folder. Not stored in the checkpoint, which is complete in itself.
        learning_rate: Rate of encoder, decoder and heads.
        backbone_lr_multiplier: Rate of the picture backbone relative to `learning_rate`; 0 freezes it.
        text_lr_multiplier: Rate of the text encoder relative to `learning_rate`; 0 freezes it.
        weight_decay: Decay of matrices and kernels; norms and biases never decay.
        optimizer: `adamw`, or `adam` as the tutorial has it.
        schedule: `drop` to a tenth at 70 % of the steps, `cosine`, or `constant`.
        warmup_steps: Steps over which the rate rises linearly.
        class_weights: Weights of the class term in matching and loss: `match2_loss1` or `match1_loss2`.
        dropout: Dropout in encoder and decoder; published fine-tuning recipes use 0.
        token_score: How a phrase's token probabilities become one score: `mean` or `max`.
        top_k: Detections kept per picture, over all queries and classes.

    Raises:
        PromptError: If a class or wording cannot be used.
        CheckpointError: If the weights cannot be loaded.
        ConfigError: If a number is out of range.
    """

    def __init__(
        self,
        phrases: dict[str, str | None] | list[str],
        weights: str = "nano",
        learning_rate: float = 1e-4,
        backbone_lr_multiplier: float = 0.1,
        text_lr_multiplier: float = 0.0,
        weight_decay: float = 1e-4,
        optimizer: Literal["adamw", "adam"] = "adamw",
        schedule: Schedule = "drop",
        warmup_steps: int = 100,
        class_weights: ClassWeights = "match2_loss1",
        dropout: float = 0.0,
        token_score: ScoreOf = "mean",
        top_k: int = 300,
    ) -> None:
        super().__init__()
        _check_settings(
            learning_rate=learning_rate,
            backbone_lr_multiplier=backbone_lr_multiplier,
            text_lr_multiplier=text_lr_multiplier,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            dropout=dropout,
            top_k=top_k,
        )
        self.phrases = class_phrases(phrases)
        self.save_hyperparameters(ignore=["weights", "phrases"])
        self.save_hyperparameters({"phrases": dict(self.phrases)})
        self.multipliers: dict[Part, float] = {
            "backbone": backbone_lr_multiplier,
            "text": text_lr_multiplier,
            "head": 1.0,
        }
        self.criterion = SetCriterion(class_weights)
        self.val_map = CocoMeanAveragePrecision(self.class_names)
        self.test_map = CocoMeanAveragePrecision(self.class_names)
        self._trained = (0, 0)  # epoch and step of the checkpoint that was loaded
        self._adopt(load_pretrained(weights))

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of their indices."""
        return list(self.phrases)

    def metric_names(self) -> list[str]:
        """Names of everything that is logged while fitting: what callbacks can monitor."""
        losses = [f"{stage}/loss{part}" for stage in ("train", "val") for part in ("", "_ce", "_bbox", "_giou")]
        return [*losses, *(f"val/{name}" for name in self.val_map.metric_names())]

    def forward(self, pixels: Tensor, pixel_mask: Tensor) -> StageOutputs:
        """Detect this model's phrases: (B, 3, H, W) float32 and (B, H, W) bool in, all stages out."""
        outputs: StageOutputs = self.detector(pixels, pixel_mask, self.prompt.to(self.device))
        return outputs

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout and drop path by seed, epoch, step and rank, so that a resumed run draws as an unbroken one."""
        if seed := os.environ.get("PL_GLOBAL_SEED"):
            place = (self.current_epoch * 1_000_003 + batch_idx) * 1_009 + self.global_rank
            torch.manual_seed((int(seed) * 2_147_483_647 + place) % 2**63)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted loss over all stages; raises FloatingPointError naming step and pictures."""
        _, losses = self._score(batch, f"train step {self.global_step}")
        self._log_losses("train", losses, batch, on_step=True)
        return losses.total

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Detections]]:
        """Score the batch and return its detections, for callbacks that draw."""
        return self._evaluate("val", self.val_map, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Detections]]:
        """As `validation_step`, for the test split."""
        return self._evaluate("test", self.test_map, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """Return the detections of each picture."""
        return self._detect(self(batch.pixels, batch.pixel_mask), batch.targets)

    def on_validation_epoch_end(self) -> None:
        """Compute mAP once over the whole split; a whole sanity check is logged as the zero-shot row."""
        metrics = self._map_metrics("val", self.val_map)
        if not self.trainer.sanity_checking:
            self.log_dict(metrics, sync_dist=True)  # equal on all ranks already; Lightning cannot know
            self._log_place()
            self._say(f"epoch {self.current_epoch if self._fitting else self._trained[0]}", metrics)
        elif math.isinf(self.trainer.num_sanity_val_steps):
            for each in self.trainer.loggers:
                each.log_metrics({name: float(value) for name, value in metrics.items()} | {"epoch": 0}, step=0)
            self._say("before the first step", metrics)

    def on_test_epoch_end(self) -> None:
        """Compute mAP once over the whole split."""
        self.log_dict(self._map_metrics("test", self.test_map), sync_dist=True)
        self._log_place()

    def train(self, mode: bool = True) -> "GroundingDinoModule":
        """Switch modes; frozen parts stay in evaluation mode, so their dropout is off."""
        super().train(mode)
        core = self.detector.model.model
        for part, module in (("backbone", core.backbone), ("text", core.text_backbone)):
            if self.multipliers[part] == 0:  # type: ignore[index]  # mypy widens the literals of the tuple
                module.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over named groups and the per-step schedule."""
        settings = self.hparams
        optimizer = build_optimizer(settings["optimizer"], self._groups(), fused=self._fused())
        factor = schedule_factor(
            settings["schedule"], settings["warmup_steps"], self.trainer.estimated_stepping_batches
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what rebuilds the model offline: configuration, tokenizer and prompt, in plain types."""
        checkpoint[CHECKPOINT_KEY] = describe(self.detector.model, self.tokenizer, self.phrases)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse other classes; take over another architecture before its weights arrive; today's settings win."""
        saved = checkpoint.get(CHECKPOINT_KEY)
        if saved is None:
            raise CheckpointError(
                "the checkpoint was not written by gdino-lightning: it has no prompt and no configuration"
            )
        check_same_phrases(saved["phrases"], self.phrases)
        if saved["config"] != describe(self.detector.model, self.tokenizer, self.phrases)["config"]:
            self._adopt(build_described(saved))
        states = zip(checkpoint.get("optimizer_states", ()), checkpoint.get("lr_schedulers", ()), strict=True)
        for optimizer, scheduler in states:
            scheduler["base_lrs"] = refresh_groups(optimizer["param_groups"], self._groups(), fused=self._fused())
        # Lightning logs the validation of an epoch at the step before the one it saves
        self._trained = (checkpoint.get("epoch", 0), max(0, checkpoint.get("global_step", 0) - 1))

    def _adopt(self, loaded: Pretrained) -> None:
        """Take a model and its tokenizer, build the prompt, and freeze what does not learn."""
        set_dropout(loaded.model, self.hparams["dropout"])
        self.tokenizer = loaded.tokenizer
        self.detector = GroundingDetector(loaded.model)
        self.prompt = build_prompt(list(self.phrases.values()), self.tokenizer, loaded.model.config.max_text_len)
        for name, parameter in loaded.model.named_parameters():
            if is_unused(name) or self.multipliers[part_of(name)] == 0:
                parameter.requires_grad_(False)

    def _groups(self) -> list[ParameterGroup]:
        settings = self.hparams
        return parameter_groups(
            self.detector.model, settings["learning_rate"], self.multipliers, settings["weight_decay"]
        )

    def _fused(self) -> bool:
        return self.device.type == "cpu" and self.trainer.precision == "32-true"

    def _score(self, batch: Batch, where: str) -> tuple[StageOutputs, Losses]:
        outputs = self(batch.pixels, batch.pixel_mask)
        phrase_map = self.prompt.phrase_map.to(self.device)
        truths = [Truth(target.boxes, phrase_map[target.labels]) for target in batch.targets]
        try:
            return outputs, self.criterion(outputs.logits, outputs.boxes, truths)
        except FloatingPointError as error:
            pictures = ", ".join(target.image_path for target in batch.targets)
            raise FloatingPointError(f"{where}: {error}; pictures: {pictures}") from error

    def _evaluate(self, stage: str, metric: CocoMeanAveragePrecision, batch: Batch) -> dict[str, list[Detections]]:
        outputs, losses = self._score(batch, stage)
        detections = self._detect(outputs, batch.targets)
        metric.update(detections, batch.targets)
        self._log_losses(stage, losses, batch, on_step=False)
        return {"detections": detections}

    def _detect(self, outputs: StageOutputs, targets: Sequence[Target]) -> list[Detections]:
        return postprocess(
            outputs.final_logits,
            outputs.final_boxes,
            self.prompt.phrase_map.to(self.device),
            [(target.width, target.height) for target in targets],
            top_k=self.hparams["top_k"],
            score=self.hparams["token_score"],
        )

    def _log_losses(self, stage: str, losses: Losses, batch: Batch, *, on_step: bool) -> None:
        values = {f"{stage}/loss_{part}": value for part, value in losses.parts.items()}
        size, sync = len(batch.targets), not on_step
        self.log(
            f"{stage}/loss",
            losses.total.detach(),
            prog_bar=True,
            on_step=on_step,
            on_epoch=sync,
            batch_size=size,
            sync_dist=sync,
        )
        self.log_dict(values, on_step=on_step, on_epoch=sync, batch_size=size, sync_dist=sync)

    @property
    def _fitting(self) -> bool:
        return self.trainer.state.fn == TrainerFn.FITTING

    def _log_place(self) -> None:
        """Outside of fitting, file the scores under the epoch and step of the checkpoint that was scored."""
        if not self._fitting:
            for name, value in zip(("epoch", "step"), self._trained, strict=True):
                self.log(name, float(value), sync_dist=True)

    @rank_zero_only
    def _say(self, when: str, metrics: dict[str, Tensor]) -> None:
        logger.info("%s: val/map %.3f, val/map_50 %.3f", when, metrics["val/map"], metrics["val/map_50"])

    @staticmethod
    def _map_metrics(stage: str, metric: CocoMeanAveragePrecision) -> dict[str, Tensor]:
        values = metric.compute()
        metric.reset()
        return {f"{stage}/{name}": torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}


def _check_settings(**settings: float) -> None:
    for name, value in settings.items():
        above_zero = name in ("learning_rate", "top_k")
        if not (value > 0 if above_zero else value >= 0) or math.isinf(value):
            raise ConfigError(f"model.{name} is {value}: it must be {'above 0' if above_zero else '0 or more'}")
    if settings["dropout"] >= 1:
        raise ConfigError(f"model.dropout is {settings['dropout']}: it must be below 1")
