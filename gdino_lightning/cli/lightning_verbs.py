"""`fit`, `validate`, `test` and `predict`: Lightning's own verbs, with run folders and self-describing checkpoints.

`pretrain` is `fit` on the drawn world.

What differs from a plain LightningCLI, and why: a checkpoint's hyper-parameters must not silently beat the command line
on `fit`; `test --ckpt_path x` takes classes, prompt and model from the checkpoint and the data settings from the run's
own config.yaml; every run has one folder, whose metrics.csv is never truncated.
"""

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, cast

from jsonargparse import set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from gdino_lightning.cli import LIGHTNING_VERBS, PRETRAIN
from gdino_lightning.cli.changed_settings import changed_settings
from gdino_lightning.cli.default_phrases import with_phrases
from gdino_lightning.cli.endings import ending, exit_code, signal_of
from gdino_lightning.cli.monitors import check_monitor
from gdino_lightning.cli.odinw import asks_for_odinw, test_datasets
from gdino_lightning.cli.parsers import OneLineErrors
from gdino_lightning.cli.peers import end_after_peer, is_lost_peer, watch_peers
from gdino_lightning.cli.phrase_check import check_phrases, load_strict
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.cli.run_config import check_run_config, read_run_config
from gdino_lightning.cli.run_lock import hold_run
from gdino_lightning.cli.runs import CONFIG_NAME, forget_run, link_latest, new_run, resolve_checkpoint, run_of
from gdino_lightning.cli.score_table import scores_of
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.scenes import WorldDataModule
from gdino_lightning.errors import CheckpointError, ConfigError, GdinoError, reason_of
from gdino_lightning.evaluation.protocols import PHRASES, PROTOCOLS, ProtocolName
from gdino_lightning.model.hub import refuse_url
from gdino_lightning.model.pretrained import read_checkpoint
from gdino_lightning.training.callbacks import (
    GracefulStop,
    PhraseScore,
    PredictionsCSV,
    ProtocolScore,
    Reference,
    ReferenceScore,
    StoreRecords,
)
from gdino_lightning.training.checkpoint_io import with_whole_checkpoints
from gdino_lightning.training.memory import explain_full_memory, is_full_memory
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.module import GroundingDinoModule
from gdino_lightning.training.sharded import chosen_strategy

# Lightning lets a configuration be fetched from anywhere that fsspec knows; here it is a file of this machine
set_parsing_settings(config_read_mode_urls_enabled=False, config_read_mode_fsspec_enabled=False)

logger = logging.getLogger(__name__)

_USAGE = "gdino {verb} --config FILE [--key value ...]      (gdino {verb} --help lists the keys)"
_TRAINER_DEFAULTS = {
    "max_epochs": 12,
    "gradient_clip_val": 0.1,  # every published recipe clips at 0.1
    "num_sanity_val_steps": -1,  # the whole validation before the first step: the zero-shot row
    "use_distributed_sampler": False,  # our sampler deals the canvases to the ranks itself
    "logger": True,
    "log_every_n_steps": 10,
}


class SaveRunConfig(SaveConfigCallback):
    """Writes config.yaml into a new run folder, on `fit` only: a test must not overwrite what training used.

    It waits until data and model have been checked: what they refuse leaves no run folder.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do nothing yet."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, from one process."""
        super().setup(trainer, pl_module, "fit")

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration, once."""
        path = Path(trainer.default_root_dir) / CONFIG_NAME
        if stage == "fit" and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, path, skip_none=False, overwrite=True, multifile=False)
            link_latest(path.parent)


class _Parser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser with errors in one line."""


class GdinoCLI(LightningCLI):
    """LightningCLI over our module and data module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with ExitStack() as self._until_end:
            try:
                super().__init__(*args, **kwargs)
            except RuntimeError as error:
                if not hasattr(self, "trainer"):
                    raise
                if is_lost_peer(error):
                    end_after_peer(self.trainer, error)
                if not is_full_memory(error):
                    raise
                raise explain_full_memory(self.trainer, self.model) from error
            except SystemExit as stop:
                trainer: Trainer | None = getattr(self, "trainer", None)
                if (number := signal_of(stop, trainer)) is None:
                    raise
                _say(ending(number, trainer, program=str(self.parser_kwargs["prog"])))
                raise SystemExit(exit_code(number)) from stop

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """As Lightning has them, less the flag for its own table of scores: a line for every key, long ones cut."""
        return {
            verb: left_out | ({"verbose"} if verb in ("validate", "test") else set())
            for verb, left_out in LightningCLI.subcommands().items()
        }

    def validate(self, **arguments: Any) -> None:
        """Validate without Lightning's table."""
        self.trainer.validate(**arguments, verbose=False)

    def test(self, **arguments: Any) -> None:
        """Test without Lightning's table."""
        self.trainer.test(**arguments, verbose=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder; the model owns the prompt and the data module is told it."""
        parser.add_argument(
            "--run",
            type=str,
            default="runs/run",
            help="folder of the run; -2, -3, ... is added to a used one",
        )
        parser.add_argument(
            "--reference",
            type=Reference | None,
            default=None,
            help="a second dataset: what the model knows of it, zero-shot, before, during and after training",
        )
        parser.add_argument(
            "--protocol", type=ProtocolName | None, default=None, help="of `test`: the numbers of this benchmark, too"
        )
        parser.add_argument(
            "--annotations",
            type=str | None,
            default=None,
            help="of `--protocol`: the benchmark's own JSON of the split",
        )
        parser.link_arguments("model.phrases", "data.phrases")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; Lightning warns where the process has arguments too, and starts further processes with those."""
        argv, sys.argv = sys.argv, sys.argv[:1]
        try:
            super().parse_arguments(parser, args)
        finally:
            sys.argv = argv

    def _parse_ckpt_path(self) -> None:
        """Do nothing: Lightning would let the checkpoint's hyper-parameters beat the command line."""

    def before_instantiate_classes(self) -> None:
        """Choose the run folder: that of the checkpoint, or a new one."""
        options = self.config[self.subcommand]
        run = run_of(Path(options.ckpt_path)) if options.ckpt_path else None
        self.run_folder = run or new_run(Path(options.run))
        options.trainer.default_root_dir = str(self.run_folder)

    def instantiate_classes(self) -> None:
        """Build model, data module and trainer; a setting that one of them refuses is the user's to mend."""
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise _user_error(error) from error
        watch_peers(self.trainer)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Attach our writer of checkpoints, and TensorBoard and metrics.csv, unless there are others or none."""
        options = self.config[self.subcommand]
        if options.ckpt_path:
            kwargs["num_sanity_val_steps"] = 0  # the row before the first step is there since the run began
        if options.trainer.logger is True:
            kwargs["logger"] = [
                TensorBoardLogger(self.run_folder, name="", version="", sub_dir="tensorboard"),
                MetricsCSVLogger(self.run_folder, once=self.subcommand == "fit"),
            ]
        trainer = self._get(self.config_init, "trainer")
        kwargs["plugins"] = with_whole_checkpoints(trainer["plugins"])
        kwargs["strategy"] = chosen_strategy(trainer["strategy"])
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Check monitors before the first epoch is spent."""
        self._watch_reference()
        watched = (each.metric_names() for each in self._callbacks if isinstance(each, ReferenceScore))
        known = [*self.model.metric_names(), *chain.from_iterable(watched)]
        for callback in self._callbacks:
            check_monitor(callback, known)
        self._hold_run()
        self._warn_of_changes()
        self._callbacks.append(GracefulStop())  # behind those that change what it lets save

    def before_validate(self) -> None:
        """Score the reference, too."""
        self._hold_run()
        self._watch_reference()

    def before_predict(self) -> None:
        """Write what is found, unless the configuration has a writer of its own settings."""
        self._hold_run()
        if not any(isinstance(callback, PredictionsCSV) for callback in self._callbacks):
            self._callbacks.append(PredictionsCSV())

    def before_test(self) -> None:
        """Keep what is found, for `gdino compare`; score the reference, too."""
        self._hold_run()
        self._watch_reference()
        self._callbacks.append(StoreRecords())
        self._follow_protocol()

    def _hold_run(self) -> None:
        """Let no other process write in the run folder from here on: all verbs add to its files."""
        if self.trainer.is_global_zero:
            self._until_end.enter_context(hold_run(self.run_folder))

    def _warn_of_changes(self) -> None:
        """Say which settings a resumed run had otherwise before."""
        path = self.run_folder / CONFIG_NAME
        if not (self.config[self.subcommand].ckpt_path and path.is_file() and self.trainer.is_global_zero):
            return
        given = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
        if changes := changed_settings(read_run_config(path), cast(dict[str, Any], load_strict(given, "settings"))):
            logger.warning("resumed with other settings than before: %s", "; ".join(changes))

    def _watch_reference(self) -> None:
        reference: Reference | None = self._get(self.config_init, "reference")
        if reference is not None:
            self._callbacks.append(ReferenceScore(reference))

    def _follow_protocol(self) -> None:
        options = self.config[self.subcommand]
        annotations = Path(options.annotations) if options.annotations else None
        if annotations and options.protocol not in PROTOCOLS:
            raise ConfigError(f"--annotations is for --protocol {' or '.join(PROTOCOLS)}: name one")
        if options.protocol:
            phrases = options.protocol == PHRASES
            self._callbacks.append(PhraseScore() if phrases else ProtocolScore(options.protocol, annotations))

    @property
    def _callbacks(self) -> list[Callback]:
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
        return callbacks

    def after_fit(self) -> None:
        """Say where the run is and what to do next."""
        best = self.run_folder / "checkpoints" / "best.ckpt"
        same_step = self.config[self.subcommand].ckpt_path and self.trainer.global_step == self.model.trained[1] + 1
        if same_step and not self.trainer.should_stop:  # early stopping says so itself
            _say(
                f"nothing was trained: the checkpoint has had all {self.trainer.max_epochs} epochs; give more with "
                "--trainer.max_epochs"
            )
        _say(f"run folder: {self.run_folder}")
        if best.is_file() and isinstance(self.datamodule, WorldDataModule):
            _say(f"next: gdino fit --config configs/sample.yaml --model.weights {best}")
        elif best.is_file():
            _say(f"next: gdino test --ckpt_path {best}")

    def after_validate(self) -> None:
        """Print the scores."""
        _say(scores_of(self.trainer, self.model, "val"))

    def after_test(self) -> None:
        """Print the scores and say what to look at next."""
        _say(scores_of(self.trainer, self.model, "test"))
        for each in self._callbacks:
            if isinstance(each, PhraseScore | ProtocolScore):
                _say(each.table())
        _say(f"pictures and plots: {self.run_folder / 'report'}    curves: tensorboard --logdir {self.run_folder}")


def run_lightning(verb: str, arguments: Sequence[str]) -> int:
    """Run one of Lightning's verbs and return the exit code."""
    quiet()
    if any(argument in ("-h", "--help") for argument in arguments):
        from gdino_lightning.cli.key_table import key_table

        _say(key_table(verb, WorldDataModule if verb == PRETRAIN else DetectionDataModule))
        return 0
    try:
        if verb == "test" and asks_for_odinw(arguments):
            _say(f"\n{test_datasets(arguments, lambda each: _run(verb, each).trainer.callback_metrics)}")
        else:
            _run(verb, arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _run(verb: str, arguments: Sequence[str]) -> GdinoCLI:
    subcommand, datamodule = ("fit", WorldDataModule) if verb == PRETRAIN else (verb, DetectionDataModule)
    expanded = ["--help" if argument == "--help_all" else argument for argument in arguments]
    _check_config_given(verb, expanded)
    _refuse_addresses(expanded)
    check_phrases(expanded)
    if verb != PRETRAIN:
        expanded = with_phrases(expanded)
    completed = [subcommand, *_with_checkpoint(subcommand, expanded)]
    argv, sys.argv = sys.argv, [sys.argv[0], verb, *arguments]  # what further processes of a run are started with
    try:
        return GdinoCLI(
            GroundingDinoModule,
            datamodule,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults=_TRAINER_DEFAULTS,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=_Parser,
            parser_kwargs={"prog": f"gdino {verb}"}
            | {each: {"usage": _USAGE.format(verb=verb)} for each in LIGHTNING_VERBS},
            args=completed,
        )
    finally:
        sys.argv = argv
        forget_run()


def _user_error(error: BaseException) -> GdinoError:
    """Return the error of this package that a library wrapped, or the library's own first line."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, GdinoError):
        cause = cause.__cause__ or cause.__context__
    return cause or ConfigError(str(error).strip().splitlines()[0])


def _check_config_given(verb: str, arguments: list[str]) -> None:
    enough = ("-c", "--config", "--ckpt_path", "--model.phrases", "--data.root", "--print_config", "--help")
    if not any(argument.startswith(enough) for argument in arguments):
        raise ConfigError(
            f"{verb} needs --config FILE, for example --config "
            f"configs/{'pretrain_nano' if verb == PRETRAIN else 'sample'}.yaml, or --ckpt_path of a run"
        )


def _refuse_addresses(arguments: Sequence[str]) -> None:
    """Refuse what begins like an address, whatever it is given for: every setting may be a file of settings."""
    for argument in arguments:
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        if re.match(r"\w+://", value):
            refuse_url(value)


def _with_checkpoint(verb: str, arguments: list[str]) -> list[str]:
    """Complete the arguments from what `--ckpt_path` knows; whatever the user gave stays last and wins."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path")
    parser.add_argument("-c", "--config", action="append")
    given, rest = parser.parse_known_args(arguments)
    if given.ckpt_path in (None, "null"):
        return arguments
    checkpoint = resolve_checkpoint(given.ckpt_path, "last" if verb == "fit" else "best")
    if verb == "fit" and "optimizer_states" not in read_checkpoint(checkpoint):
        raise CheckpointError(
            f"{checkpoint}: holds weights only and cannot be resumed; give the last.ckpt beside it, or start a new run "
            f"with --model.weights={checkpoint} and --config"
        )
    run = run_of(checkpoint)
    if run and not given.config:
        check_run_config(run / CONFIG_NAME)
    configs = given.config or ([str(run / CONFIG_NAME)] if run else [])
    if not configs and not any(argument.startswith("--data.root") for argument in rest):
        raise ConfigError(
            f"{checkpoint}: no {CONFIG_NAME} in its run folder; say where the data is with --data.root or --config"
        )
    completed = [f"--config={config}" for config in configs]
    if verb != "fit" and not given.config:
        saved = read_checkpoint(checkpoint).get("hyper_parameters", {})
        try:
            completed += [f"--model.{key}={_as_flag(value)}" for key, value in saved.items()]
        except TypeError as error:
            raise CheckpointError(f"{checkpoint}: its hyper-parameters are no settings ({reason_of(error)})") from error
    return [*completed, f"--model.weights={checkpoint}", f"--ckpt_path={checkpoint}", *rest]


def _as_flag(value: object) -> str:
    # letters as they are: YAML refuses the halves in which JSON escapes those beyond 16 bits
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
