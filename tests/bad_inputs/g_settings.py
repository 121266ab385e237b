"""Catalogue G: settings, weights and checkpoints, given to `fit`, `test` and `detect`."""

import io
import json
import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, chdir
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from huggingface_hub import constants
from prepared_factory import write_split
from voc_factory import write_files

from gdino_lightning.cli import main
from tests.bad_inputs.case import FIT, Case, Handled, Refused

CAT = ("cat", (1, 2, 20, 25))
CHECKPOINT = "runs/run/checkpoints/last.ckpt"
BAD = "runs/run/checkpoints/bad.ckpt"
RESUME = ("fit", f"--ckpt_path={BAD}", "--trainer.max_epochs=2")
TEST = ("test", f"--ckpt_path={BAD}")
DETECT = ("detect", "--weights=nano-random", "--source=out/test/images", "--phrases=cat", "--output=found")
_STOP = "gdino_lightning.training.callbacks.GuardedEarlyStopping"


def prepared() -> None:
    """Four pictures to train on and two to test, each with one box."""
    for split, count in (("train", 4), ("test", 2)):
        write_split(Path("out") / split, {f"{split}{index}.png": [CAT] for index in range(count)})


@cache
def _finished() -> dict[str, bytes]:
    """Files of a finished run of one epoch, with its data."""
    keep = (
        "--trainer.enable_checkpointing=true",
        "--trainer.callbacks+=gdino_lightning.training.callbacks.EpochCheckpoints",
    )
    with TemporaryDirectory() as folder, chdir(folder):
        prepared()
        assert main([*FIT, *keep]) == 0
        found = [path for path in Path().rglob("*") if path.is_file() and "latest" not in path.parts]
        return {path.as_posix(): path.read_bytes() for path in found}


def _run(change: Callable[[dict[str, object]], object] | None = None) -> Callable[[], None]:
    """A finished run whose bad.ckpt is its last.ckpt after this change."""

    def make() -> None:
        write_files(Path(), _finished())
        checkpoint = torch.load(CHECKPOINT, weights_only=True)
        if change:
            change(checkpoint)
        torch.save(checkpoint, BAD)

    return make


def _run_with_file(data: Callable[[], bytes] | bytes) -> Callable[[], None]:
    """A finished run whose bad.ckpt is this."""

    def make() -> None:
        write_files(Path(), _finished())
        Path(BAD).write_bytes(data if isinstance(data, bytes) else data())

    return make


def _weights(data: bytes) -> Callable[[], None]:
    """A dataset, and a file of weights that holds this."""

    def make() -> None:
        prepared()
        Path("weights.pth").write_bytes(data)

    return make


class _Hostile:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("hostile-was-run"),)


def _hostile_zip() -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {}, "gdino": {}, "x": _Hostile()}, file)
    return file.getvalue()


def _rename_weights(checkpoint: dict[str, object]) -> None:
    state = checkpoint["state_dict"]
    for name in [name for name in state if ".decoder." in name][:7]:
        state[f"detector.model.other.{name}"] = state.pop(name)


def _instantiate(checkpoint: dict[str, object]) -> None:
    checkpoint["hyper_parameters"]["_instantiator"] = "os.system"


def _unreachable() -> AbstractContextManager[object]:
    return patch.multiple(constants, HF_HUB_OFFLINE=True, HF_HUB_CACHE=str(Path("cache").absolute()))


def _yaml(text: str) -> Callable[[], None]:
    def make() -> None:
        prepared()
        Path("mine.yaml").write_text(text)

    return make


def _another_architecture() -> None:
    prepared()
    write_files(Path("other"), {"config.json": json.dumps({"model_type": "bert"}).encode()})


def _run_on_other_data(change: Callable[[list[str]], object]) -> Callable[[], None]:
    """A finished run whose table of training pictures is changed, line by line."""

    def make() -> None:
        _run()()
        table = Path("out/train/annotations.csv")
        lines = table.read_text().splitlines(keepends=True)
        change(lines)
        table.write_text("".join(lines))

    return make


def _move_a_box(lines: list[str]) -> None:
    lines[1] = lines[1].replace("cat,1,", "cat,3,")


WEIGHTS = (*FIT, "--model.weights=weights.pth")
CASES = [
    Case(
        "G01",
        "a mistyped flag",
        prepared,
        Refused(r"learning_rte=3; did you mean --model\.learning_rate\?"),
        (*FIT, "--model.learning_rte=3"),
    ),
    Case(
        "G01",
        "a mistyped key of a file",
        _yaml("data:\n  batchsize: 3\n"),
        Refused(r"'data\.batchsize'; did you mean --data\.batch_size\?"),
        (*FIT, "--config=mine.yaml"),
    ),
    Case(
        "G01",
        "a mistyped option of `prepare`",
        lambda: None,
        Refused(r"^unrecognized arguments: --num_trian 3; did you mean --num_train\? `gdino prepare --help`"),
        ("prepare", "--source", "data", "--root", "out", "--num_trian", "3"),
    ),
    Case(
        "G01",
        "a key twice",
        _yaml("data:\n  seed: 1\n  seed: 2\n"),
        Refused("^mine.yaml line 3: seed is given twice; correct"),
        (*FIT, "--config=mine.yaml"),
    ),
    *(
        Case("G02", f"{flag}={value}", prepared, Refused(message), (*FIT, f"--{flag}={value}"))
        for flag, value, message in (
            ("model.learning_rate", "fast", r'key "model\.learning_rate": Expected a .*float.*Got value: fast'),
            ("seed_everything", "-1", r"^seed_everything is -1, expected a whole number from 0 to 4,294,967,295"),
            ("model.learning_rate", "0", r"^model\.learning_rate is 0\.0: it must be above 0"),
            ("model.learning_rate", "-1e-4", r"^model\.learning_rate is -0\.0001: it must be above 0"),
            ("model.learning_rate", ".nan", r"model\.learning_rate.*nan"),
            ("data.batch_size", "0", r"^data\.batch_size is 0: it must be at least 1"),
            ("data.val", "1.5", r"^data\.val is 1\.5: the fraction of the training pictures held out must lie between"),
            ("trainer.max_epochs", "-5", "^`max_epochs` must be a non-negative integer"),
        )
    ),
    *(
        Case(
            "G02",
            f"--{flag} {value}",
            prepared,
            Refused(rf"^{flag} is {value}: it must be from 0 to 1"),
            (*DETECT, f"--{flag}", value),
        )
        for flag, value in (("box_threshold", "1.5"), ("text_threshold", "nan"), ("nms_iou", "-0.5"))
    ),
    Case(
        "G03",
        "a monitor that is never logged",
        prepared,
        Refused("^GuardedEarlyStopping: monitor 'val/mapp' is never logged; known: .*val/map,"),
        (*FIT, f"--trainer.callbacks+={_STOP}", "--trainer.callbacks.monitor=val/mapp"),
    ),
    Case(
        "G03",
        "the lowest mAP taken for the best",
        prepared,
        Refused("^EarlyStopping: mode is min, but a better val/map is higher; set mode: max"),
        (*FIT, "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/map"),
    ),
    Case(
        "G04",
        "a file of weights that is missing",
        prepared,
        Refused(r"^weights\.pth: no such folder or file; weights are `nano`, a \.ckpt or \.pth file"),
        WEIGHTS,
    ),
    Case(
        "G04",
        "a model of the hub without a network",
        prepared,
        Refused(
            r"^IDEA-Research/some-model: no such folder, not in the cache, and the hub did not answer \(HF_HUB_OFFLINE "
            r"is set\); either download it .*, or try everything offline with --config configs/sample\.yaml"
        ),
        (*FIT, "--model.weights=IDEA-Research/some-model"),
        _unreachable,
    ),
    Case(
        "G05",
        "a pointer of Git LFS",
        _weights(b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 689359096\n"),
        Refused(r"^weights\.pth: is a Git LFS pointer, not the file itself; run `git lfs pull`"),
        WEIGHTS,
    ),
    Case(
        "G05",
        "a web page",
        _weights(b"<!doctype html><html>404</html>"),
        Refused(r"^weights\.pth: is a web page, not weights; download the file itself"),
        WEIGHTS,
    ),
    Case(
        "G06",
        "a checkpoint cut short",
        _run_with_file(lambda: _finished()[CHECKPOINT][:-1000]),
        Refused(rf"^{BAD}: damaged or not a checkpoint \(.+\); use an earlier one"),
        RESUME,
    ),
    Case("G06", "an empty checkpoint", _run_with_file(b""), Refused(rf"^{BAD}: damaged or not a checkpoint"), RESUME),
    *(
        Case(
            "G07",
            f"a pickle that runs code, {says}",
            _run_with_file(data),
            Refused(rf"^{BAD}: refused, it holds more than"),
            RESUME,
        )
        for says, data in (("bare", lambda: pickle.dumps(_Hostile(), 2)), ("in an archive", _hostile_zip))
    ),
    *(
        Case(
            "G08",
            f"a checkpoint by URL to {command[0]}",
            prepared,
            Refused(r"^http://127\.0\.0\.1:9/a\.ckpt: is not read from the network"),
            command,
        )
        for command in (
            ("fit", "--ckpt_path=http://127.0.0.1:9/a.ckpt"),
            ("test", "--ckpt_path=http://127.0.0.1:9/a.ckpt"),
            (*FIT, "--model.weights=http://127.0.0.1:9/a.ckpt"),
        )
    ),
    Case(
        "G09",
        "an environment that switches torch's guard off",
        _run_with_file(_hostile_zip),
        Refused(rf"^{BAD}: refused, it holds more than weights and plain values"),
        RESUME,
        partial(patch.dict, os.environ, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}),
    ),
    Case(
        "G10",
        "a hyper-parameter that names a function",
        _run(_instantiate),
        Refused("--model._instantiator=os.system"),
        TEST,
    ),
    Case(
        "G13",
        "other classes than the checkpoint has",
        _run(),
        Refused(
            r"^the checkpoint was trained with phrases \{cat: cat\}, asked for are \{dog: dog, cat: cat\}: leave --"
        ),
        (*RESUME, "--model.phrases=[dog, cat]"),
    ),
    Case(
        "G14",
        "a box less than the run was trained on",
        _run_on_other_data(list.pop),
        Refused(
            r"^out: not the data that the checkpoint was trained on \(then 4 pictures, 4 boxes, now 4 pictures, 3 "
            r"boxes\); give it that data back, start a new run with --model\.weights, or go on all the same with "
            r"--data\.accept_changes=true"
        ),
        RESUME,
    ),
    Case(
        "G14",
        "a box in another place",
        _run_on_other_data(_move_a_box),
        Refused(r"was trained on \(4 pictures, 4 boxes, but other names, sizes, labels, boxes or texts\)"),
        RESUME,
    ),
    Case(
        "G14",
        "other data that is wanted",
        _run_on_other_data(_move_a_box),
        Handled(r"^run folder: runs/run", boxes=6),
        (*RESUME, "--data.accept_changes=true"),
    ),
    Case(
        "G14",
        "other settings",
        _run(),
        Handled(
            r"resumed with other settings than before: model\.learning_rate 0\.0001 -> 0\.001; "
            r"data\.batch_size 2 -> 1; trainer\.max_epochs 1 -> 2$",
            boxes=6,
        ),
        (*RESUME, "--data.batch_size=1", "--model.learning_rate=1e-3"),
    ),
    Case(
        "G15",
        "a checkpoint whose weights have other names",
        _run(_rename_weights),
        Refused(
            rf"^{BAD}: its weights do not fit its own description: 7 are missing and 7 unknown \(.+ and 9 more\); use"
        ),
        RESUME,
    ),
    Case(
        "G15",
        "weights without our description",
        _run(lambda checkpoint: checkpoint.pop("gdino")),
        Refused(rf"^{BAD}: not a checkpoint of gdino-lightning; give one that `fit` wrote"),
        RESUME,
    ),
    Case(
        "G15",
        "a folder of another architecture",
        _another_architecture,
        Refused("^other: model_type is 'bert', expected one of grounding-dino, mm-grounding-dino"),
        (*FIT, "--model.weights=other"),
    ),
    Case(
        "G16",
        "a run that has all its epochs",
        _run(),
        Handled(
            "^nothing was trained: the checkpoint has had all 1 epochs; give more with --trainer.max_epochs", boxes=6
        ),
        ("fit", f"--ckpt_path={BAD}"),
    ),
]
