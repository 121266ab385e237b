"""The command line: one program, three doors (`gdino`, `lightning`, `python -m gdino_lightning`).

Help, errors and exit codes are here; nothing heavy is imported until a verb runs.
"""

import errno
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gdino_lightning import __version__
from gdino_lightning.errors import GdinoError
from gdino_lightning.signals import TERMINATED_CODE, Terminated, handling, terminate

BAD_INPUT, NON_FINITE, DISK, INTERRUPTED, TERMINATED = 2, 3, 4, 130, TERMINATED_CODE  # exit codes
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
_PATH_ERRORS = {errno.ENOTDIR}
LIGHTNING_VERBS = ("fit", "validate", "test", "predict")
PRETRAIN = "pretrain"  # `fit` on the drawn world
VERBS = {
    "sample": "draw the sample dataset: pictures and VOC XML, no download",
    "prepare": "a dataset of any known format -> tables and a train/test split, or another format",
    "inspect": "look at a prepared dataset before training: --root data/facemask",
    "train": "a folder of labelled pictures, from start to finish: gdino train pets.zip",
    "fit": "fine-tune: --config configs/facemask.yaml",
    "validate": "score the validation part",
    "test": "score the test split: --ckpt_path runs/latest/checkpoints/best.ckpt",
    "select": "choose among the epochs of a run: --run runs/latest",
    "compare": "two tested runs and an interval for their difference: runs/a runs/b",
    "phrases": "score alternative wordings of the classes: --candidates phrases.yaml --config configs/sample.yaml",
    "detect": "pictures, folders, video -> boxes: --weights runs/latest --source pictures/ --output out/",
    "predict": "detect on the test pictures and write predictions.csv",
    "serve": "a page in the browser: picture in, boxes out, thresholds by slider: --weights nano",
    "edit": "remove or replace what phrases find: --source x.jpg --phrase mask --output y.png",
    "export": "weights out, or to another format: --weights model.pth --format hf --output folder",
    "world": "what weights know of the drawn open world, zero-shot: --weights nano",
    PRETRAIN: "train the miniature on the drawn world: --config configs/pretrain_nano.yaml",
}
_USAGE = """usage: gdino VERB [options]      (also `lightning VERB`, `python -m gdino_lightning VERB`)

Fine-tune Grounding DINO on your own objects.

{verbs}

gdino VERB --help     the options of one verb
gdino --version

exit codes: 0 done, 2 bad input, 3 non-finite numbers, 4 disk, 130 interrupted, 143 terminated
"""


def usage() -> str:
    """Return the text of `gdino --help`."""
    return _USAGE.format(verbs="\n".join(f"  {verb:<10}{text}" for verb, text in VERBS.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; every expected error is one line on standard error.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else BAD_INPUT
    if arguments[0] == "--version":
        print(f"gdino-lightning {__version__}")
        return 0
    if arguments[0] not in VERBS:
        return _fail(f"there is no verb {arguments[0]!r}; `gdino --help` lists them", BAD_INPUT)
    _show_own_messages()
    try:
        with handling(terminate):
            return run_verb(arguments[0], arguments[1:])
    except GdinoError as error:
        return _fail(str(error), BAD_INPUT)
    except FloatingPointError as error:
        return _fail(f"{error}. The last good checkpoint is untouched.", NON_FINITE)
    except OSError as error:
        if error.errno not in _DISK_ERRORS | _PATH_ERRORS:
            raise
        code = DISK if error.errno in _DISK_ERRORS else BAD_INPUT
        return _fail(f"{error.filename or 'disk'}: {error.strerror}; free space or choose another folder", code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Terminated as stop:
        return _fail(f"terminated by {stop.name}", TERMINATED)


def run_verb(verb: str, rest: list[str]) -> int:
    """Run a verb, `run_<verb>` of `<verb>_verb.py`, and return the exit code.

    Args:
        verb: One of `VERBS`.
        rest: What was typed after it.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # it warns of damaged pictures; our own line names them
    if verb in (*LIGHTNING_VERBS, PRETRAIN):
        from gdino_lightning.cli.lightning_verbs import run_lightning

        return run_lightning(verb, rest)
    module = import_module(f"gdino_lightning.cli.{verb}_verb")
    code: int = getattr(module, f"run_{verb}")(rest)
    return code


def _show_own_messages() -> None:
    """Print this package's messages; libraries keep to their own settings."""
    logger = logging.getLogger("gdino_lightning")
    if not logger.handlers:
        logger.addHandler(_StandardError())
        logger.setLevel(logging.INFO)
        logger.propagate = False


class _StandardError(logging.Handler):
    """Writes to the stderr of the moment; a StreamHandler would hold on to the one of the first call."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message."""
        print(self.format(record), file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(f"gdino: {message}", file=sys.stderr)
    return code
