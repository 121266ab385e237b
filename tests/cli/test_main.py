"""The program around the verbs: help, errors in one line, exit codes, doors."""

import contextlib
import errno
import importlib.metadata
import re
import resource
import subprocess
import sys

import pytest

import gdino_lightning.__main__
from gdino_lightning import __version__, cli
from gdino_lightning.cli import LIGHTNING_VERBS, VERBS, lightning_verbs, main, prepare_verb, sample_verb, usage
from gdino_lightning.cli.gdino_cli import GdinoCLI

HELP_CPU_S = 1.0


def run_help(capsys, verb: str) -> str:
    """What `gdino VERB --help` prints; argparse exits after it, Lightning's verbs return."""
    with contextlib.suppress(SystemExit):
        assert main([verb, "--help"]) == 0
    return capsys.readouterr().out


def failure(capsys, *arguments: str) -> str:
    """The one line that a run with bad input prints; checks its exit code and that it is one line."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gdino: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_static_table_of_verbs_is_what_the_parsers_offer():
    offered = GdinoCLI.subcommands()
    assert set(LIGHTNING_VERBS) == set(offered)
    data, runs = {"sample", "prepare", "inspect"}, {"pretrain", "train", "world", "select", "compare", "phrases"}
    assert set(VERBS) == {*offered, *data, *runs, "detect", "edit", "serve", "export"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_help_has_a_help_of_its_own(capsys, verb):
    assert re.search(rf"^  {verb} +\w", usage(), re.MULTILINE)
    assert f"usage: gdino {verb} " in run_help(capsys, verb)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_is_the_table(capsys, arguments):
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == usage().strip()


def test_no_verb_is_bad_input_and_shows_the_help(capsys):
    assert main([]) == 2
    assert "usage: gdino VERB" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gdino-lightning {__version__}\n"
    assert importlib.metadata.version("gdino-lightning") == __version__


def test_help_is_quick_and_imports_nothing_heavy():
    """Processor time rather than wall time, so that other work on the machine does not matter."""
    code = "import sys; from gdino_lightning.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < HELP_CPU_S
    imported = {name.split(".")[0] for name in done.stderr.split()}
    assert "gdino_lightning" in imported
    assert not imported & {"torch", "lightning", "transformers", "jsonargparse", "cv2", "numpy", "pandas"}


def test_the_module_is_the_program():
    done = subprocess.run([sys.executable, "-m", "gdino_lightning", "nope"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "gdino: there is no verb 'nope'; `gdino --help` lists them\n"


def test_all_doors_open_to_one_function():
    scripts = importlib.metadata.distribution("gdino-lightning").entry_points.select(group="console_scripts")
    assert {script.name for script in scripts} == {"gdino", "lightning"}
    assert {script.load() for script in scripts} == {cli.main}
    assert gdino_lightning.__main__.main is cli.main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fitt"], r"no verb 'fitt'; `gdino --help`"),
        (["--root"], r"no verb '--root'"),
        (["sample", "--num_images", "many"], r"--num_images: invalid int value: 'many'; `gdino sample --help`"),
        (["sample", "--colour", "1"], r"unrecognized arguments: --colour 1; `gdino sample --help`"),
        (["prepare", "--source", "x"], r"required: --root; `gdino prepare --help`"),
        (["prepare", "--source", "nowhere.zip", "--root", "out"], r"nowhere.zip: no such .*; check the path"),
        (["fit"], r"--config configs/sample.yaml"),
        (["fit", "--config", "nowhere.yaml"], r"not exist.*nowhere.yaml'; `gdino fit --help`"),
        (["test", "--ckpt_path", "nowhere.ckpt"], r"nowhere.ckpt: no such checkpoint; `ls runs/\*/checkpoints`"),
        (["test", "--ckpt_path", "best"], r"runs/latest/checkpoints/best.ckpt: no such checkpoint"),
        (
            ["fit", "--model.phrases=[a]", "--data.rot=x"],
            r"--data.rot=x; did you mean --data.root\? `gdino fit --help`",
        ),
        (["fit", "--model.phrases=[a]", "--data.root=x", "--model.top_k=y"], r"model.top_k.*; `gdino fit --help`"),
    ],
)
def test_bad_input_is_one_line_with_the_fix(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    message = failure(capsys, *arguments)
    assert re.search(says, message)
    assert len(message) < 250
    assert list(tmp_path.iterdir()) == []


def raises(error: BaseException):
    def verb(*_):
        raise error

    return verb


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_4_and_names_the_file(capsys, monkeypatch, number):
    monkeypatch.setattr(prepare_verb, "run_prepare", raises(OSError(number, "it is full", "out/a.csv")))
    assert main(["prepare"]) == 4
    assert capsys.readouterr().err == "gdino: out/a.csv: it is full; free space or choose another folder\n"


def test_other_errors_of_the_system_are_not_hidden(monkeypatch):
    monkeypatch.setattr(prepare_verb, "run_prepare", raises(OSError(errno.EPIPE, "broken")))
    with pytest.raises(BrokenPipeError):
        main(["prepare"])


def test_numbers_that_are_not_finite_are_3_and_say_so(capsys, monkeypatch):
    monkeypatch.setattr(lightning_verbs, "run_lightning", raises(FloatingPointError("train step 7: loss is nan")))
    assert main(["fit"]) == 3
    assert capsys.readouterr().err == "gdino: train step 7: loss is nan. The last good checkpoint is untouched.\n"


def test_an_interrupt_is_130(capsys, monkeypatch):
    monkeypatch.setattr(sample_verb, "run_sample", raises(KeyboardInterrupt()))
    assert main(["sample"]) == 130
    assert capsys.readouterr().err == "gdino: interrupted\n"


def test_what_a_verb_returns_is_the_exit_code(monkeypatch):
    monkeypatch.setattr(lightning_verbs, "run_lightning", lambda verb, rest: {"test": 0, "fit": 7}[verb])
    assert [main(["test"]), main(["fit"])] == [0, 7]
