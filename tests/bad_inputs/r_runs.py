"""Catalogue R: what of a run is input: boxes, words, numbers."""

from functools import partial
from pathlib import Path

from prepared_factory import write_split

from tests.bad_inputs.case import FIT, Case, Handled, Refused
from tests.bad_inputs.g_settings import DETECT, prepared

CAT = ("cat", (1, 2, 20, 25))
_all_of = partial(Handled, "^run folder: runs/run", boxes=6)


def _captions(line: str) -> None:
    prepared()
    Path("out/train/captions.jsonl").write_text(line + "\n")


def _label_of_test() -> None:
    write_split(Path("out/train"), {"a.png": [CAT], "b.png": [CAT]})
    write_split(Path("out/test"), {"c.png": [("helmet", (1, 2, 20, 25))]})


def _mostly_negative() -> None:
    """Batches of one picture: three of four without a box."""
    write_split(Path("out/train"), {"a.png": [], "b.png": [CAT], "c.png": [], "d.png": []})
    write_split(Path("out/test"), {"e.png": [], "f.png": [CAT]})


def _crowd(size: int, crowds: int) -> None:
    """Pictures of `size` boxes and of one, trained on 22 places, which is the number of their queries."""
    boxes = [("cat", (1, 2, 20 + number / 2, 25)) for number in range(size)]
    others = {f"{number}.png": [CAT] for number in range(110 - size)}
    write_split(Path("out/train"), {f"crowd{number}.png": boxes for number in range(crowds)} | others)
    write_split(Path("out/test"), {"c.png": [CAT]})


def _phrases(text: str) -> tuple[str, ...]:
    return (*FIT, f"--model.phrases={text}")


def _file_in_the_way() -> None:
    prepared()
    Path("runs").write_text("mine")


_CAPTION = '{"image_name": "train0.png", "caption": "a cat", "phrases": [{"spans": [[2, 5]], "boxes": [[%s]]}]}'
CASES = [
    *(
        Case(
            "R03",
            f"a box of [{box}] in a caption",
            partial(_captions, _CAPTION % box),
            Refused(rf"^out/train/captions\.jsonl:1: {says}"),
            FIT,
        )
        for box, says in (
            ("1, 2, NaN, 9", ".*NaN"),
            ("1, 2, 1e400, 9", ".+"),
            ("9, 2, 3, 9", "phrase 1: box .* ends before it starts"),
        )
    ),
    Case(
        "R07",
        "a label of the test split that is no class",
        _label_of_test,
        Refused(
            r"^out/test/annotations\.csv: labels helmet are no classes of the model, which are cat; add them to model"
        ),
        FIT,
    ),
    Case("R08", "batches without a box", _mostly_negative, _all_of(boxes=2), (*FIT, "--data.batch_size=1")),
    Case(
        "R09",
        "one box in 110 more than queries",
        partial(_crowd, 23, 1),
        Handled(
            r"1 of 110 boxes have no query left and are not learned .*crowd0\.png: 23 boxes, 22 queries",
            pictures=89,
            boxes=111,
        ),
        FIT,
    ),
    Case(
        "R09",
        "many boxes more than queries",
        partial(_crowd, 40, 2),
        Refused(
            r"^36 of 150 boxes have no query left and are not learned \(out/train/images/crowd0.png: 40 boxes, 22 "
            r"queries\); use weights with more queries, larger pictures \(data\.short_side\), or crops"
        ),
        FIT,
    ),
    Case(
        "R10",
        "a wording that is longer than a prompt",
        prepared,
        Refused(r"^prompt: 'cat cat .+' needs 303 tokens, a prompt holds 256; shorten it"),
        _phrases(f"{{cat: '{'cat ' * 300}'}}"),
    ),
    Case(
        "R10",
        "more classes than one prompt holds",
        prepared,
        _all_of(),
        _phrases("[cat, " + ", ".join(f"cat number {number}" for number in range(80)) + "]"),
    ),
    *(
        Case("R11", f"the wording {wording!r}", prepared, Refused(says), _phrases(f"{{cat: '{wording}'}}"))
        for wording, says in ((" ", "^phrases: class 'cat' has an empty wording; give it at least one word"),)
    ),
    Case("R11", "a wording of full stops is one phrase", prepared, _all_of(), _phrases("{cat: a cat, stops: '..'}")),
    Case(
        "R11",
        "no class at all",
        prepared,
        Refused("^phrases: no class is named; give `class_name: wording`"),
        _phrases("{}"),
    ),
    *(
        Case(
            "R12",
            f"the classes {classes}",
            prepared,
            Refused("^phrases: class.+; the model could not tell them apart"),
            _phrases(classes),
        )
        for classes in ("[cat, Cat]", "{cat: animal, dog: animal}")
    ),
    Case(
        "R13", "wordings that begin alike", prepared, _all_of(), _phrases("{cat: mask, a: with mask, b: without mask}")
    ),
    Case(
        "R14",
        "nothing is found",
        prepared,
        Handled("^0 boxes in 2 pictures: found", boxes=6),
        (*DETECT, "--box_threshold", "1.0"),
    ),
    Case(
        "R26",
        "a file where the runs should be",
        _file_in_the_way,
        Refused(r"^runs/run: Not a directory; free space or choose another folder"),
        FIT,
    ),
]
