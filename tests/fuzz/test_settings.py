"""Settings of `fit`: any value of any key, by flag or file, is parsed or refused in one line; nothing is built."""

import json
from functools import cache
from pathlib import Path

from fuzzing import answer, file_of, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st

from gdino_lightning.cli.gdino_cli import GdinoCLI, Parser
from gdino_lightning.cli.phrase_check import check_phrases, load_strict
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import GdinoError
from gdino_lightning.training.module import GroundingDinoModule

SAMPLE = (Path(__file__).parents[2] / "configs" / "sample.yaml").read_bytes()
ENOUGH = ("--model.phrases=[cat]", "--data.root=data")
CANARY = "fuzz-canary"

odd_values = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=10),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ("", "null", "true", "[]", "{}", "[[]]", "{a: 1}", "[1, a]", "-1", "0", ".nan", "1e999", "0x10", "1_0")
    ),
    st.sampled_from(
        ("&a [*a]", "*a", "<<: 1", "? a", "- a", "'", '"', "%", "@a", "!x 1", "# a", "a: b: c", "2020-01-01")
    ),
    st.sampled_from(
        ("${HOME}", "${oc.env:HOME}", "{class_path: nowhere.Nothing}", "nowhere.Nothing", "9" * 5000, "[" * 200)
    ),
    st.sampled_from((f"!!python/object/apply:os.mkdir [{CANARY}]", f"!!python/object/new:os.mkdir [{CANARY}]")),
)
TOKENS = (
    b": ",
    b"- ",
    b"\t",
    b"[",
    b"{",
    b"}",
    b"*a",
    b"&a ",
    b"!!binary ",
    b"|\n",
    b"'",
    b'"',
    b"#",
    b"---\n",
    b"\xff",
    b"<<: ",
)


class _ParseOnly(GdinoCLI):
    """The command line without what follows it."""

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


@cache
def parser() -> Parser:
    """The parser of `fit`; making one takes longer than parsing."""
    line = _ParseOnly(GroundingDinoModule, DetectionDataModule, parser_class=Parser, args=["fit", *ENOUGH])
    return line.parser


@cache
def keys() -> list[str]:
    (verbs,) = (action for action in parser()._actions if action.dest == "subcommand")
    options = [option for action in verbs.choices["fit"]._actions for option in action.option_strings]
    owned = ("--model.", "--data.", "--trainer.", "--reference", "--run")
    return sorted(key for key in options if key.startswith(owned) and not key.endswith(".help"))


def parse(*arguments: str) -> object:
    check_phrases(arguments)
    return parser().parse_args(["fit", *ENOUGH, *arguments])


def check(*arguments: str) -> None:
    answer(lambda: parse(*arguments), GdinoError)
    assert not Path(CANARY).exists()


@fuzz(st.lists(st.tuples(st.integers(0, 10**6), odd_values), min_size=1, max_size=3), few=200)
def test_any_value_of_any_flag_is_parsed_or_refused(drawn):
    check(*(f"{keys()[place % len(keys())]}={value}" for place, value in drawn))


@fuzz(st.dictionaries(st.integers(0, 10**6), odd_values | odd_values.map(json.dumps), max_size=3), few=200)
def test_any_value_of_any_key_of_a_file_is_parsed_or_refused(drawn):
    values = {keys()[place % len(keys())].removeprefix("--").rstrip("+"): value for place, value in drawn.items()}
    sections: dict[str, list[str]] = {}
    for name, value in values.items():
        owner, _, key = name.partition(".")
        sections.setdefault(owner, []).append(f"  {key}: {value}\n" if key else f"  {value}\n")
    text = "".join("".join([f"{owner}:\n", *lines]) for owner, lines in sections.items())
    check(f"--config={file_of(text.encode(), 'mine.yaml')}")


@fuzz(mutated(SAMPLE, TOKENS), few=200)
@example(b"\xef\xbb\xbfmodel: {}\n")
def test_a_damaged_file_is_parsed_or_refused(data):
    check(f"--config={file_of(data, 'mine.yaml')}")


# nine to the power of eleven values
BOMB = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]).encode()


@fuzz(st.one_of(st.binary(max_size=60), mutated(SAMPLE[:400], TOKENS)))
@example(BOMB)
@example(b"[" * 50_000)
@example(b"? [a]\n: 1")
@example(b"{[a]: 1, [b]: {[c]: 2}}")
@example(b"a: &a [*a]")
@example(b"2020-13-45")
@example(b"!!int x")
@example(b"!!timestamp x")
@example(b"!!int ''")
def test_any_text_is_yaml_or_refused(data):
    text = data.decode("latin-1")
    answer(lambda: load_strict(text, "mine.yaml"), GdinoError, "mine.yaml")
