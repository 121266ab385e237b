"""The LightningModule: steps, logging and optimizer; network, objective and scores live in their own rooms."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from gdino_lightning.data.batch import Batch
from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections, ScoreOf
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.features import StageOutputs
from gdino_lightning.model.pretrained import (
    CHECKPOINT_KEY,
    Pretrained,
    build_described,
    check_same_architecture,
    check_same_phrases,
    describe,
    load_pretrained,
    set_dropout,
)
from gdino_lightning.prompt import Prompt, PromptBatch, class_phrases
from gdino_lightning.training.criterion import ClassWeights, Losses, SetCriterion, join_losses
from gdino_lightning.training.matcher import ClassCost
from gdino_lightning.training.objective import Objective
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
from gdino_lightning.training.questions import AskedBatch, Questioner
from gdino_lightning.training.scored import ScoredModule
from gdino_lightning.training.settings import check_numbers, check_prompt_tokens


class GroundingDinoModule(ScoredModule):
    """Fine-tunes Grounding DINO on classes and captions.

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
        negatives: Absent classes in a training prompt, beside those of the picture; null: all that fit.
        prompt_tokens: Tokens of a prompt; classes that do not fit are sampled in training and asked for in further
            prompts in evaluation. Null: as many as the model reads, 256 in the published ones.
        class_weights: Weights of the class term in matching and loss: `match2_loss1` or `match1_loss2`.
        class_cost: Class term of the matching over a phrase's tokens: `token_mean` (Open-GroundingDino) or `token_sum`
            (MM-GDINO).
        special_tokens_negative: [CLS], [SEP] and "." count as words that no box answers to, as in the published
            trainers; false leaves them out of matching and loss.
        look_forward_twice: The box loss of a decoder layer reaches the layer before it, too.
        denoising_queries: About how many positive denoising queries to add in training, and as many negative ones;
            0 for none.
        gradient_checkpointing: Save memory by computing each layer twice.
        dropout: Dropout in encoder and decoder; published fine-tuning recipes use 0.
        token_score: How a phrase's token probabilities become one score: `mean` or `max`.
        top_k: Detections kept per picture, over all queries and classes.
        fusion: Ablation: image and text look at each other in the feature enhancer.
        text_guided_queries: Ablation: the decoder starts from the proposals that match the text best; off, from
            learned anchors.
        text_cross_attention: Ablation: decoder layers look at the text.
        sub_sentence: Ablation: phrases do not see one another in the text encoder.

    Raises:
        PromptError: If a class or wording cannot be used.
        CheckpointError: If the weights cannot be loaded or were trained with a part switched off.
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
        negatives: int | None = None,
        prompt_tokens: int | None = None,
        class_weights: ClassWeights = "match2_loss1",
        class_cost: ClassCost = "token_mean",
        special_tokens_negative: bool = True,
        look_forward_twice: bool = True,
        denoising_queries: int = 0,
        gradient_checkpointing: bool = False,
        dropout: float = 0.0,
        token_score: ScoreOf = "mean",
        top_k: int = 300,
        fusion: bool = True,
        text_guided_queries: bool = True,
        text_cross_attention: bool = True,
        sub_sentence: bool = True,
    ) -> None:
        wordings = class_phrases(phrases)
        super().__init__(list(wordings))
        check_numbers(
            learning_rate=learning_rate,
            backbone_lr_multiplier=backbone_lr_multiplier,
            text_lr_multiplier=text_lr_multiplier,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            negatives=negatives,
            prompt_tokens=prompt_tokens,
            denoising_queries=denoising_queries,
            dropout=dropout,
            top_k=top_k,
        )
        self.phrases = wordings
        self.save_hyperparameters(ignore=["weights", "phrases"])
        self.save_hyperparameters({"phrases": dict(self.phrases)})
        self.multipliers: dict[Part, float] = {
            "backbone": backbone_lr_multiplier,
            "text": text_lr_multiplier,
            "head": 1.0,
        }
        self.switches = Switches(
            fusion=fusion,
            text_guided_queries=text_guided_queries,
            text_cross_attention=text_cross_attention,
            sub_sentence=sub_sentence,
            look_forward_twice=look_forward_twice,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.objective = Objective(
            SetCriterion(class_weights, class_cost=class_cost),
            special_tokens_negative=special_tokens_negative,
            denoising_queries=denoising_queries,
        )
        self.asker = Asker(top_k, token_score)
        self._adopt(load_pretrained(weights))

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of their indices."""
        return list(self.phrases)

    def metric_names(self) -> list[str]:
        """Names of everything that is logged while fitting: what callbacks can monitor."""
        return super().metric_names() + ["train/loss_dn"] * bool(self.hparams["denoising_queries"])

    def forward(self, pixels: Tensor, pixel_mask: Tensor, prompts: Prompt | PromptBatch | None = None) -> StageOutputs:
        """Detect phrases: (B, 3, H, W) float32 and (B, H, W) bool in, all stages out.

        Args:
            pixels: Normalised pictures.
            pixel_mask: True on the pictures.
            prompts: One prompt for all pictures or one for each; by default this model's classes.

        Raises:
            ValueError: If no prompt is given and the classes need more than one.
        """
        if prompts is None and len(self.questioner.chunks) > 1:
            raise ValueError(f"the classes need {len(self.questioner.chunks)} prompts: use detect, which asks them all")
        prompts = self.questioner.chunks[0] if prompts is None else prompts
        outputs: StageOutputs = self.detector(pixels, pixel_mask, prompts)
        return outputs

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> AskedBatch:
        """Decide on the host, before the batch moves, which words its pictures are asked for."""
        if self.training:
            return self.questioner.for_training(batch, int(os.environ.get("PL_GLOBAL_SEED", 0)), self.current_epoch)
        return self.questioner.for_evaluation(batch)

    def setup(self, stage: str) -> None:
        """Refuse precisions that would convert the weights: matching and losses need float32.

        Raises:
            ConfigError: If the trainer's precision is one.
        """
        if self.trainer.precision not in ("32-true", "bf16-mixed", "16-mixed"):
            raise ConfigError(
                f"trainer.precision is {self.trainer.precision}: use bf16-mixed, 16-mixed or 32-true (the default)"
            )

    def on_fit_start(self) -> None:
        """Switch to training; tokenize all captions, so that one that cannot be used is found before any step.

        Raises:
            PromptError: If a caption is too long or a phrase of it unknown; it names file and line.
        """
        # Lightning leaves modes as they are, and transformers hands over models in evaluation mode
        self.train()
        self.questioner.check(getattr(getattr(self.trainer, "datamodule", None), "captions", {}))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout and drop path by seed, epoch, step and rank, so that a resumed run draws as an unbroken one."""
        if seed := os.environ.get("PL_GLOBAL_SEED"):
            place = (self.current_epoch * 1_000_003 + batch_idx) * 1_009 + self.global_rank
            torch.manual_seed((int(seed) * 2_147_483_647 + place) % 2**63)

    def training_step(self, batch: AskedBatch, batch_idx: int) -> Tensor:
        """Return the weighted loss over all stages; raises FloatingPointError naming step and pictures."""
        with self._placing_errors(f"train step {self.global_step}"):
            losses: Losses = self.objective(self.detector, batch)
        self.log_losses("train", losses, len(batch.targets), on_step=True)
        return losses.total

    def validation_step(self, batch: AskedBatch, batch_idx: int) -> dict[str, list[Detections]]:
        """Score the batch and return its detections, for callbacks that draw."""
        return self._evaluate("val", self.val_map, batch)

    def test_step(self, batch: AskedBatch, batch_idx: int) -> dict[str, list[Detections]]:
        """As `validation_step`, for the test split."""
        return self._evaluate("test", self.test_map, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """Return the detections of each picture."""
        return self.detect(batch)

    def detect(
        self, batch: Batch, prompts: Prompt | PromptBatch | Sequence[Prompt | PromptBatch] | None = None
    ) -> list[Detections]:
        """Detect phrases in evaluation mode; the pictures are encoded once, however many prompts ask about them.

        Args:
            batch: Pictures, on the device of the model.
            prompts: A prompt, or several that are asked one after the other, each shared by all pictures or one for
                each; by default this model's classes. Labels are the prompts' `classes`.

        Returns:
            The best detections of each picture over all prompts.
        """
        asked = self.questioner.chunks if prompts is None else prompts
        asked = [asked] if isinstance(asked, Prompt | PromptBatch) else asked
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                return self.asker.detect(self.detector, batch.pixels, batch.pixel_mask, asked, _sizes(batch))
        finally:
            for module, training in modes.items():
                module.training = training

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
        checkpoint[CHECKPOINT_KEY] = describe(self.detector, self.tokenizer, self.phrases)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse other classes; take over another architecture before its weights arrive; today's settings win."""
        saved = checkpoint.get(CHECKPOINT_KEY)
        if saved is None:
            raise CheckpointError(
                "the checkpoint was not written by gdino-lightning: it has no prompt and no configuration"
            )
        check_same_phrases(saved["phrases"], self.phrases)
        check_same_architecture(saved.get("architecture"), self.switches, resumed=True)
        if saved["config"] != describe(self.detector, self.tokenizer, self.phrases)["config"]:
            self._adopt(build_described(saved))
        states = zip(checkpoint.get("optimizer_states", ()), checkpoint.get("lr_schedulers", ()), strict=True)
        for optimizer, scheduler in states:
            scheduler["base_lrs"] = refresh_groups(optimizer["param_groups"], self._groups(), fused=self._fused())
        # Lightning logs the validation of an epoch at the step before the one it saves
        self.trained = (checkpoint.get("epoch", 0), max(0, checkpoint.get("global_step", 0) - 1))

    def _adopt(self, loaded: Pretrained) -> None:
        """Take a model and its tokenizer, tokenize the classes, and freeze what does not learn."""
        settings = self.hparams
        check_same_architecture(loaded.architecture, self.switches)
        set_dropout(loaded.model, settings["dropout"])
        self.tokenizer = loaded.tokenizer
        self.detector = GroundingDetector(loaded.model, self.switches)
        max_tokens = check_prompt_tokens(settings["prompt_tokens"], loaded.model.config.max_text_len)
        self.questioner = Questioner(list(self.phrases.values()), self.tokenizer, settings["negatives"], max_tokens)
        for name, parameter in loaded.model.named_parameters():
            if is_unused(name, self.switches) or self.multipliers[part_of(name)] == 0:
                parameter.requires_grad_(False)

    def _groups(self) -> list[ParameterGroup]:
        settings = self.hparams
        return parameter_groups(
            self.detector.model, settings["learning_rate"], self.multipliers, settings["weight_decay"]
        )

    def _fused(self) -> bool:
        return self.device.type == "cpu" and self.trainer.precision == "32-true"

    def _evaluate(self, stage: str, metric: CocoMeanAveragePrecision, batch: AskedBatch) -> dict[str, list[Detections]]:
        image = self.detector.encode_image(batch.pixels, batch.pixel_mask)
        losses, parts = [], []
        for question in batch.questions:
            outputs, found = self.asker.ask(self.detector, image, question.prompts, _sizes(batch))
            with self._placing_errors(stage):
                losses.append(self.objective.score(outputs, question, batch))
            parts.append(found)
        detections = self.asker.join(parts)
        metric.update(detections, batch.targets)
        self.log_losses(stage, join_losses(losses), len(batch.targets), on_step=False)
        return {"detections": detections}

    @staticmethod
    @contextmanager
    def _placing_errors(where: str) -> Iterator[None]:
        try:
            yield
        except FloatingPointError as error:
            raise FloatingPointError(f"{where}: {error}") from error


def _sizes(batch: Batch) -> list[tuple[int, int]]:
    """(width, height) px of the stored pictures."""
    return [(target.width, target.height) for target in batch.targets]
