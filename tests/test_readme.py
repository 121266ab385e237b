"""README.md and docs/ say nothing that is not there: targets, verbs, flags, configurations, links and pictures."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from gdino_lightning.cli import LIGHTNING_VERBS, VERBS, main
from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.training.module import GroundingDinoModule

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path.relative_to(ROOT): path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z][\w-]*):(?!=)", MAKEFILE, re.MULTILINE)
VARIABLES = re.findall(r"^([A-Z_]+) [?:]?=", MAKEFILE, re.MULTILINE)
PROGRAMS = ("make", "gdino", "lightning")


class ParsedError(Exception):
    """A parser took the arguments; what they ask for is not done."""


def commands(text: str) -> list[list[str]]:
    """The commands of code fences and of inline code, as words, without what a shell takes for a comment."""
    fences = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line for block in (*fences, *inline) for line in block.replace("\\\n", " ").splitlines()]
    started = [line.strip() for line in lines if line.split()[:1] and line.split()[0] in PROGRAMS]
    parts = [part for line in started for part in line.split(" && ")]
    typed = [words for part in parts if len(words := shlex.split(part, comments=True)) > 1]
    return [words for words in typed if words[1] != "--help"]


def calls(*programs: str) -> list:
    """The arguments of the pages' commands, each once, as parameters of a test."""
    # elsewhere a command in a sentence may be a verb alone
    blocks = ["".join(re.findall(r"^ *```.*?^ *```$\n", text, re.MULTILINE | re.DOTALL)) for text in PAGES.values()]
    found = {
        " ".join(words): words[1:] for text in (README, *blocks) for words in commands(text) if words[0] in programs
    }
    return [pytest.param(arguments, id=line) for line, arguments in found.items()]


@cache
def flags(verb: str) -> set[str]:
    """The flags that the parser of one of Lightning's verbs takes."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([verb, "--help_all"]) == 0
    return {"--help", "--help_all", *re.findall(r"--[\w.]+", printed.getvalue())}


def test_the_readme_has_commands_of_each_kind():
    assert len(calls("make")) > 5
    verbs = {words[1] for words in commands(README) if words[0] != "make"}
    assert {"prepare", "fit", "test", "predict"} <= verbs


@pytest.mark.parametrize("arguments", calls("make"))
def test_targets_and_variables_are_in_the_makefile(arguments):
    variables = [word.split("=")[0] for word in arguments if "=" in word]
    assert {word for word in arguments if "=" not in word} <= set(TARGETS)
    assert set(variables) <= set(VARIABLES)


@pytest.mark.parametrize("arguments", calls("gdino", "lightning"))
def test_verbs_flags_and_values_are_taken_by_the_parsers(arguments, monkeypatch):
    verb, *rest = arguments
    assert verb in VERBS
    if verb in LIGHTNING_VERBS:
        assert {word.split("=")[0] for word in rest if word.startswith("--")} <= flags(verb)
        return
    parse = LineParser.parse_args

    def parse_and_stop(self, *given):
        parse(self, *given)
        raise ParsedError

    monkeypatch.setattr(LineParser, "parse_args", parse_and_stop)
    with pytest.raises(ParsedError):
        main(arguments)


def test_configurations_exist_and_none_is_left_out():
    named = set(re.findall(r"configs/\w+\.yaml", README))
    assert named == {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_pictures_exist(page):
    targets = set(re.findall(r"\]\((?!\w+:)([^)#]+)", PAGES[page]))
    elsewhere = {"tables.md", "benchmarks.md"}  # of the site; made of files of other folders
    assert [target for target in targets - elsewhere if not (ROOT / page.parent / target).is_file()] == []


def test_configurations_that_pages_name_exist():
    named = {name for text in PAGES.values() for name in re.findall(r"configs/[\w/]+\.yaml", text)}
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_site_builds_with_no_broken_link_and_asks_nothing_of_others(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    built = {path.relative_to(tmp_path).parent.as_posix() for path in tmp_path.rglob("index.html")}
    assert {"install", "tour", "tables", "benchmarks", "comparison", "reference/training"} <= built
    api = (tmp_path / "reference" / "training" / "index.html").read_text()
    assert "HungarianMatcher" in api
    fetched = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?:[^\" >]+)", api)
    assert fetched == []


def test_make_help_prints_every_target_with_a_text():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(printed) == TARGETS


def example(number: int) -> str:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]


def test_the_first_example_in_python_finds_boxes_in_a_picture(drawn, capsys):
    picture = next((drawn / "test" / "images").iterdir())
    names: dict = {}
    exec(example(0).replace("runs/latest", "nano").replace("street.jpg", str(picture)), names)  # the README is ours
    assert names["found"].names == ("red hat", "cat")
    assert capsys.readouterr().out.startswith(str(names["found"].texts()))


def test_the_second_example_in_python_runs(drawn):
    """On the miniature and a batch of drawn pictures."""
    module = GroundingDinoModule(phrases=["with_mask"]).eval()
    classes = ["with_mask", "without_mask", "mask_weared_incorrect"]
    data = DetectionDataModule(str(drawn), classes, short_side=64, long_side_max=96, num_workers=0)
    data.setup("test")
    names = {"module": module, "batch": next(iter(data.test_dataloader()))}
    exec(example(1), names)
    assert names["prompt"].phrases == ("St. Bernard", "red cup")
    assert names["caption"].phrases == ("a man", "two dogs")
    assert len(names["detections"]) == len(names["batch"].targets)
    assert set(names["detections"][0].labels.tolist()) == {0, 1}
