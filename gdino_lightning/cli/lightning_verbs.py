"""`fit`, `validate`, `test` and `predict`: Lightning's own verbs, with run folders and self-describing checkpoints.

`pretrain` is `fit` on the drawn world.

What differs from a plain LightningCLI, and why: a checkpoint's hyper-parameters must not silently beat the command line
on `fit`; `test --ckpt_path x` takes classes, prompt and model from the checkpoint and the data settings from the run's
own config.yaml; every run has one folder, whose metrics.csv is never truncated.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence

from gdino_lightning.cli import LIGHTNING_VERBS, PRETRAIN
from gdino_lightning.cli.default_phrases import with_phrases
from gdino_lightning.cli.gdino_cli import GdinoCLI, Parser, SaveRunConfig, say
from gdino_lightning.cli.odinw import asks_for_odinw, test_datasets
from gdino_lightning.cli.phrase_check import check_phrases
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.cli.run_config import check_run_config
from gdino_lightning.cli.runs import CONFIG_NAME, forget_run, resolve_checkpoint, run_of
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.scenes import WorldDataModule
from gdino_lightning.errors import CheckpointError, ConfigError, reason_of
from gdino_lightning.model.hub import refuse_url
from gdino_lightning.model.pretrained import read_checkpoint
from gdino_lightning.training.module import GroundingDinoModule

_USAGE = "gdino {verb} --config FILE [--key value ...]      (gdino {verb} --help lists the keys)"
_TRAINER_DEFAULTS = {
    "max_epochs": 12,
    "gradient_clip_val": 0.1,  # every published recipe clips at 0.1
    "num_sanity_val_steps": -1,  # the whole validation before the first step: the zero-shot row
    "use_distributed_sampler": False,  # our sampler deals the canvases to the ranks itself
    "logger": True,
    "log_every_n_steps": 10,
}


def run_lightning(verb: str, arguments: Sequence[str]) -> int:
    """Run one of Lightning's verbs and return the exit code."""
    quiet()
    if any(argument in ("-h", "--help") for argument in arguments):
        from gdino_lightning.cli.key_table import key_table

        say(key_table(verb, WorldDataModule if verb == PRETRAIN else DetectionDataModule))
        return 0
    try:
        if verb == "test" and asks_for_odinw(arguments):
            say(f"\n{test_datasets(arguments, lambda each: _run(verb, each).trainer.callback_metrics)}")
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
            parser_class=Parser,
            parser_kwargs={"prog": f"gdino {verb}"}
            | {each: {"usage": _USAGE.format(verb=verb)} for each in LIGHTNING_VERBS},
            args=completed,
        )
    finally:
        sys.argv = argv
        forget_run()


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
