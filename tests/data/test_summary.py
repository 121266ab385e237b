from dataclasses import replace
from pathlib import Path

from gdino_lightning.data.annotation import Problem
from gdino_lightning.data.summary import PrepareSummary, SplitCounts, count_split

PLAIN = PrepareSummary(
    root=Path("data/cats"),
    splits=(
        SplitCounts("train", 1200, 3, {"cat": 2679, "dog": 1}),
        SplitCounts("test", 253, 0, {"cat": 900, "dog": 12}),
    ),
    clipped_boxes=0,
    clipped_pictures=0,
    largest_overhang_px=0.0,
    repeated_boxes=0,
    matched_by_name=0,
    identical=(),
    cut=(),
    skipped=(),
    ignored=(),
    digest="abc",
    changed_files=2906,
)


def test_a_plain_summary_reads_as_one_aligned_table():
    assert str(PLAIN) == "\n".join(
        [
            "data/cats: 2,906 files written or removed",
            "",
            "                   train     test    total",
            "pictures           1,200      253    1,453",
            "  without a box        3        0        3",
            "boxes              2,680      912    3,592",
            "  cat              2,679      900    3,579",
            "  dog                  1       12       13",
            "",
            "clipped    nothing: all boxes lie inside their pictures",
            "skipped    nothing",
            "digest     abc",
        ]
    )


def test_a_run_without_work_says_so():
    assert str(replace(PLAIN, changed_files=0)).startswith("data/cats: already up to date\n")


def test_all_that_was_done_to_the_data_is_told():
    text = str(
        replace(
            PLAIN,
            clipped_boxes=12,
            clipped_pictures=1,
            largest_overhang_px=2.5,
            repeated_boxes=1,
            matched_by_name=2,
            identical=(("a.png", "b.png"), ("c.png", "d.png", "e.png")),
            cut=(("a.png", "b.png"),),
            ignored=tuple(f"{index}.txt" for index in range(7)),
        )
    )
    for line in (
        "clipped    12 boxes in 1 picture, out by at most 2.5 px (tables as annotated, clipped when loaded)",
        "repeated   1 box annotated twice, kept once",
        "matched    2 annotations name no picture of the source and went by its own file name",
        "ignored    7 other files: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more",
        "identical  2 groups of byte-identical pictures (5 pictures)",
        "warning    1 identical group is cut by the split, so train has seen these test pictures: a.png = b.png; "
        "--split grouped keeps them together",
    ):
        assert line in text.splitlines()


def test_what_was_skipped_is_counted_by_reason_and_listed_up_to_ten():
    problems = tuple(Problem("box", "bad box", f"a.xml:{line}: why") for line in range(12))
    text = str(replace(PLAIN, skipped=(*problems, Problem("picture", "unreadable picture", "p.png: why"))))
    lines = text.splitlines()
    start = lines.index("skipped    12 x bad box, 1 x unreadable picture")
    assert lines[start + 1] == "           a.xml:0: why"
    assert lines[start + 11] == "           ... and 3 more"


def test_missing_classes_and_classes_that_differ_in_case_are_warned_of():
    splits = (SplitCounts("train", 2, 0, {"cat": 1, "Cat": 2}), SplitCounts("test", 1, 0, {"cat": 1}))
    assert replace(PLAIN, splits=splits).warnings == [
        "test has no box of Cat",
        "classes that differ only in case: Cat, cat",
    ]


def test_a_split_that_keeps_groups_together_says_so():
    groups = (("a.png", "b.png"), ("c.png", "d.png", "e.png"))
    grouped = str(replace(PLAIN, split="grouped", groups=groups, asked_train=1200)).splitlines()
    assert "split      grouped: 2 groups of near-identical pictures kept together" in grouped
    stratified = str(replace(PLAIN, split="stratified", groups=groups[:1], asked_train=1201)).splitlines()
    assert (
        "split      stratified: classes in equal shares, 1 group of near-identical pictures kept together" in stratified
    )
    assert "warning    train has 1200 pictures, not 1201: whole groups do not add up to it" in stratified
    assert not [line for line in grouped if line.startswith("warning")]


def test_pictures_boxes_and_negatives_of_a_split_are_counted():
    counts = count_split("train", [["dog", "cat", "dog"], [], ["dog"]])
    assert counts == SplitCounts("train", pictures=3, negatives=1, boxes={"cat": 1, "dog": 3})
    assert counts.num_boxes == 4
