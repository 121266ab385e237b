"""LightningCLI over our module and data module: run folders, checks before the first step, what is said at the end."""

import logging
import sys
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, cast

from jsonargparse import set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.seed import max_seed_value
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from gdino_lightning.cli.changed_settings import changed_settings
from gdino_lightning.cli.endings import ending, exit_code, signal_of
from gdino_lightning.cli.monitors import check_monitor
from gdino_lightning.cli.parsers import OneLineErrors
from gdino_lightning.cli.peers import end_after_peer, is_lost_peer, watch_peers
from gdino_lightning.cli.phrase_check import load_strict
from gdino_lightning.cli.run_config import read_run_config
from gdino_lightning.cli.run_lock import hold_run
from gdino_lightning.cli.runs import CONFIG_NAME, link_latest, new_run, run_of
from gdino_lightning.cli.score_table import scores_of
from gdino_lightning.data.scenes import WorldDataModule
from gdino_lightning.errors import ConfigError, GdinoError
from gdino_lightning.evaluation.protocols import PHRASES, PROTOCOLS, ProtocolName
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
from gdino_lightning.training.sharded import chosen_strategy

# Lightning lets a configuration be fetched from anywhere that fsspec knows; here it is a file of this machine
set_parsing_settings(config_read_mode_urls_enabled=False, config_read_mode_fsspec_enabled=False)

logger = logging.getLogger(__name__)


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


class Parser(OneLineErrors, LightningArgumentParser):
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
                say(ending(number, trainer, program=str(self.parser_kwargs["prog"])))
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
        seed = self.config[self.config.subcommand].seed_everything
        if not 0 <= int(seed) <= max_seed_value:
            raise ConfigError(f"seed_everything is {seed}, expected a whole number from 0 to {max_seed_value:,}")

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
            say(
                f"nothing was trained: the checkpoint has had all {self.trainer.max_epochs} epochs; give more with "
                "--trainer.max_epochs"
            )
        say(f"run folder: {self.run_folder}")
        if best.is_file() and isinstance(self.datamodule, WorldDataModule):
            say(f"next: gdino fit --config configs/sample.yaml --model.weights {best}")
        elif best.is_file():
            say(f"next: gdino test --ckpt_path {best}")

    def after_validate(self) -> None:
        """Print the scores."""
        say(scores_of(self.trainer, self.model, "val"))

    def after_test(self) -> None:
        """Print the scores and say what to look at next."""
        say(scores_of(self.trainer, self.model, "test"))
        for each in self._callbacks:
            if isinstance(each, PhraseScore | ProtocolScore):
                say(each.table())
        say(f"pictures and plots: {self.run_folder / 'report'}    curves: tensorboard --logdir {self.run_folder}")


def _user_error(error: BaseException) -> GdinoError:
    """Return the error of this package that a library wrapped, or the library's own first line."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, GdinoError):
        cause = cause.__cause__ or cause.__context__
    return cause or ConfigError(str(error).strip().splitlines()[0])


@rank_zero_only
def say(text: str) -> None:
    """Print, from one process."""
    print(text, flush=True)
