"""The LightningModule: settings, optimizer and checkpoints; what is done with a batch is in `steps`."""

import logging
from importlib.util import find_spec
from typing import Any, Literal

from lightning.pytorch import Callback
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import ScoreOf
from gdino_lightning.model.adapt import freeze as freeze_parts
from gdino_lightning.model.adapt import set_drop_path, set_dropout
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.lora import Lora, add_lora, merge_state
from gdino_lightning.model.pretrained import (
    CHECKPOINT_KEY,
    Pretrained,
    build_described,
    check_same_architecture,
    check_same_phrases,
    describe,
    load_pretrained,
)
from gdino_lightning.prompt import class_phrases
from gdino_lightning.training.callbacks.adapters import AdapterFiles
from gdino_lightning.training.callbacks.ema import averaged_state
from gdino_lightning.training.criterion import ClassWeights, SetCriterion
from gdino_lightning.training.matcher import ClassCost
from gdino_lightning.training.objective import Objective
from gdino_lightning.training.optimizer import ParameterGroup, Schedule
from gdino_lightning.training.queries import check_queries
from gdino_lightning.training.questions import Questioner
from gdino_lightning.training.recipe import Recipe, parts_table
from gdino_lightning.training.settings import check_multipliers, check_numbers, check_prompt_tokens
from gdino_lightning.training.steps import DetectionSteps

FREEZE = ["text_encoder"]  # a moving text encoder forgets words
LR_MULTIPLIERS = {"backbone": 0.1, "text_encoder": 0.1}  # of the official paper: 1e-5 beside 1e-4

logger = logging.getLogger(__name__)


class GroundingDinoModule(DetectionSteps):
    """Fine-tunes Grounding DINO on classes and captions.

    Args:
        phrases: Class name -> wording the model reads (empty: the name, underscores as spaces), or class names alone.
            Their order is the order of the class indices. Saved in every checkpoint. The command line takes the class
            names in the tables of `data.root` where there are none.
        weights: Where training starts: `nano` (a miniature for CPUs), a hub id, a Hugging Face folder, a Lightning
            checkpoint, a run folder or an adapter. Not a setting that the checkpoint brings back: it is complete.
        freeze: What does not learn and stays in evaluation mode: parts (`backbone`, `text_encoder`, `projections`,
            `encoder`, `query_selection`, `decoder`, `heads`), some of their layers (`backbone.layers.0-1`,
            `encoder.layers.2`) or `backbone.embeddings`, `text_encoder.embeddings`.
        lr_multipliers: Rates relative to `learning_rate` by names as in `freeze`; the later of two that name a weight
            counts, and what none names has 1.
        lora: Train low-rank adapters of this `rank` and `alpha` in the linear layers of the parts `layers`, and nothing
            else; best and epoch checkpoints hold plain weights with the adapters added. Null: train the weights.
        learning_rate: Rate of what no multiplier names.
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
        skip_non_finite: How many optimizer steps a run may leave out because their loss or gradient is NaN or infinite,
            each with a warning; one more ends it, as the first one does with 0. Not for 16-mixed.
        gradient_checkpointing: Save memory by computing each layer twice.
        triton: On CUDA GPUs, deformable attention in a Triton kernel; it was tested in Triton's interpreter only.
        dropout: Dropout in encoder and decoder; published fine-tuning recipes use 0.
        drop_path: Probability that a picture skips a branch of the backbone's last block (less in earlier ones) and of
            the fusion layers. Null: as the weights' configuration says, 0.1 in the published ones.
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
        ConfigError: If a number is out of range, or a name is no part of the model.
    """

    def __init__(
        self,
        phrases: dict[str, str | None] | list[str],
        weights: str = "nano",
        freeze: list[str] = FREEZE,
        lr_multipliers: dict[str, float] = LR_MULTIPLIERS,
        lora: Lora | None = None,
        learning_rate: float = 1e-4,
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
        skip_non_finite: int = 0,
        gradient_checkpointing: bool = False,
        triton: bool = False,
        dropout: float = 0.0,
        drop_path: float | None = None,
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
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            negatives=negatives,
            prompt_tokens=prompt_tokens,
            denoising_queries=denoising_queries,
            skip_non_finite=skip_non_finite,
            dropout=dropout,
            drop_path=drop_path,
            top_k=top_k,
        )
        check_multipliers(lr_multipliers)
        self.phrases = wordings
        self.save_hyperparameters(ignore=["weights", "phrases"])
        self.save_hyperparameters({"phrases": dict(self.phrases)})
        self.switches = Switches(
            fusion=fusion,
            text_guided_queries=text_guided_queries,
            text_cross_attention=text_cross_attention,
            sub_sentence=sub_sentence,
            look_forward_twice=look_forward_twice,
            gradient_checkpointing=gradient_checkpointing,
            triton=triton,
        )
        self.objective = Objective(
            SetCriterion(class_weights, class_cost=class_cost),
            special_tokens_negative=special_tokens_negative,
            denoising_queries=denoising_queries,
            refuses_non_finite=not skip_non_finite,
        )
        self.skip_non_finite = skip_non_finite
        self.asker = Asker(top_k, token_score)
        self.recipe = Recipe.of(self.hparams)
        self.base = weights
        self._adopt(load_pretrained(weights), lora)
        self._groups()  # names that are no part of the model are found before any step

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of their indices."""
        return list(self.phrases)

    def metric_names(self) -> list[str]:
        """Names of everything that is logged while fitting: what callbacks can monitor."""
        names = {"train/loss_dn": self.hparams["denoising_queries"], "train/skipped": self.skip_non_finite}
        return super().metric_names() + [name for name, is_on in names.items() if is_on]

    def setup(self, stage: str) -> None:
        """Find what cannot be run, or not be learned from, before any step and any file.

        Raises:
            ConfigError: If the trainer's precision would convert the weights (matching and losses need float32) or
                skips steps itself, many boxes have no query, or triton is not installed.
            PromptError: If a caption is too long or a phrase of it unknown; it names file and line.
        """
        if self.trainer.precision not in ("32-true", "bf16-mixed", "16-mixed"):
            raise ConfigError(
                f"trainer.precision is {self.trainer.precision}: use bf16-mixed, 16-mixed or 32-true (the default)"
            )
        if self.skip_non_finite and self.trainer.precision == "16-mixed":
            raise ConfigError(
                "model.skip_non_finite does not go with trainer.precision 16-mixed, which skips steps by itself; "
                "use bf16-mixed"
            )
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        if self.switches.triton and on_gpu and not find_spec("triton"):
            raise ConfigError("model.triton needs the package triton: pip install triton, or leave the key out")
        if stage == "fit":
            data = getattr(self.trainer, "datamodule", None)  # any that yields our batches
            self.questioner.check(getattr(data, "captions", {}))
            for phrases in getattr(data, "further_phrases", ()):
                self.questioner.add_classes(phrases)
            check_queries(getattr(data, "demands", list)(), self.detector.model.config)

    def configure_callbacks(self) -> list[Callback]:
        """With adapters, keep them in files of their own."""
        return [AdapterFiles()] if self.lora else []

    def on_fit_start(self) -> None:
        """Switch to training; say what learns."""
        # Lightning leaves modes as they are, and transformers hands over models in evaluation mode
        self.train()
        if self.trainer.is_global_zero:
            logger.info("%s", parts_table(self.detector.model, self._groups()))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over named groups and the per-step schedule."""
        return self.recipe.build(self.detector.model, self.trainer.estimated_stepping_batches, fused=self._fused())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what rebuilds the model offline; a checkpoint that cannot be resumed gets the weights to be used.

        Those are plain weights of transformers, averaged where the fit averages them. Lightning asks callbacks for
        theirs in checkpoints with an optimizer only.
        """
        resumes = "optimizer_states" in checkpoint
        if not resumes and "state_dict" in checkpoint:
            state = averaged_state(self.trainer) or checkpoint["state_dict"]
            checkpoint["state_dict"] = merge_state(state, self.lora) if self.lora else state
        checkpoint[CHECKPOINT_KEY] = describe(self.detector, self.tokenizer, self.phrases, self.calibrated) | {
            "lora": self.lora if resumes else None,
            "base": self.base,
            "skipped": self.skipped,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse other classes; take over another architecture before its weights arrive; today's settings win."""
        saved = checkpoint.get(CHECKPOINT_KEY)
        if saved is None:
            raise CheckpointError(
                "the checkpoint was not written by gdino-lightning: it has no prompt and no configuration"
            )
        check_same_phrases(saved["phrases"], self.phrases)
        check_same_architecture(saved.get("architecture"), self.switches, resumed=True)
        lora, resumes = saved.get("lora"), self._trainer is not None and self._fitting
        if resumes and lora != self.lora:
            raise CheckpointError(f"the checkpoint trained with model.lora {lora}, asked for is {self.lora}")
        if lora != self.lora or saved["config"] != describe(self.detector, self.tokenizer, self.phrases)["config"]:
            self._adopt(build_described(saved), lora)
        self.calibrated = saved.get("thresholds")
        self.base = saved.get("base", self.base)
        if resumes:
            self.skipped = saved.get("skipped", 0)
            self.recipe.refresh(checkpoint, self.detector.model, fused=self._fused())
        # Lightning logs the validation of an epoch at the step before the one it saves
        self.trained = (checkpoint.get("epoch", 0), max(0, checkpoint.get("global_step", 0) - 1))

    def _adopt(self, loaded: Pretrained, lora: Lora | None) -> None:
        """Take a model and its tokenizer, tokenize the classes, and settle what learns."""
        settings = self.hparams
        check_same_architecture(loaded.architecture, self.switches)
        set_dropout(loaded.model, settings["dropout"])
        if settings["drop_path"] is not None:
            set_drop_path(loaded.model, settings["drop_path"])
        self.tokenizer = loaded.tokenizer
        self.detector = GroundingDetector(loaded.model, self.switches)
        max_tokens = check_prompt_tokens(settings["prompt_tokens"], loaded.model.config.max_text_len)
        self.questioner = Questioner(list(self.phrases.values()), self.tokenizer, settings["negatives"], max_tokens)
        self.calibrated = loaded.thresholds if loaded.phrases == self.phrases else None
        freeze_parts(loaded.model, settings["freeze"], self.switches)
        self.lora = lora
        if lora:
            add_lora(loaded.model, lora, self.switches)

    def _groups(self) -> list[ParameterGroup]:
        return self.recipe.groups(self.detector.model)

    def _fused(self) -> bool:
        return self.device.type == "cpu" and self.trainer.precision == "32-true"
