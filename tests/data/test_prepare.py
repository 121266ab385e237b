import json
import random
import time
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from killed import killed_after
from voc_factory import dataset_files, png, tree_digest, tree_times, voc_xml, write_files

from gdino_lightning.data import pictures
from gdino_lightning.data.packed import PACKED_NAME
from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.publish import finish_preparation
from gdino_lightning.data.table import COLUMNS, read_table
from gdino_lightning.errors import DatasetError


@pytest.fixture
def source(tmp_path):
    return write_files(tmp_path / "source", dataset_files(6))


def run(source, root, **options):
    return prepare(source, root, **{"num_train": 4, "progress": False, **options})


def test_pictures_labels_and_tables_are_laid_out_for_both_splits(source, tmp_path):
    root = tmp_path / "root"
    run(source, root)
    seen = []
    for split, count in (("train", 4), ("test", 2)):
        images = sorted((root / split / "images").iterdir())
        assert len(images) == count
        for image in images:
            assert image.read_bytes() == (source / "images" / image.name).read_bytes()
            xml = f"{image.stem}.xml"
            assert (root / split / "labels" / xml).read_bytes() == (source / "annotations" / xml).read_bytes()
        seen += [image.name for image in images]
        header = (root / split / "annotations.csv").read_text().splitlines()[0]
        assert header == ",".join(COLUMNS)
    assert sorted(seen) == [f"p{index}.png" for index in range(6)]
    assert set(tree_digest(root)) == {
        "prepare.json",
        *(f"{split}/annotations.csv" for split in ("train", "test")),
        *(path.relative_to(root).as_posix() for path in root.glob("*/*/*")),
    }


def test_tables_hold_the_numbers_as_annotated_sorted_by_picture_then_by_place(source, tmp_path):
    items = [("dog", (5, 5, 41, 30)), ("cat", (1, 2, 3.5, 4))]
    write_files(source, {"images/p10.png": png(seed=10), "annotations/p10.xml": voc_xml("p10.png", items)})
    for seed in range(20):
        run(source, tmp_path / f"{seed}", num_train=5, seed=seed)
        lines = (tmp_path / f"{seed}/train/annotations.csv").read_text().splitlines()[1:]
        names = [line.split(",")[5] for line in lines]
        assert names == sorted(names)
        if "p10.png" in names:
            assert [line for line in lines if "p10.png" in line] == [
                "dog,5,5,41,30,p10.png,40,30",
                "cat,1,2,3.5,4,p10.png,40,30",
            ]
            break
    else:
        pytest.fail("p10.png was never drawn for train")


def test_negatives_are_kept_without_a_row(source, tmp_path):
    summary = run(source, tmp_path / "root")
    pictures = {
        picture.name: picture for split in ("train", "test") for picture in read_split(tmp_path / "root" / split)
    }
    assert pictures["p5.png"].labels == ()
    assert len(pictures) == 6
    assert sum(split.negatives for split in summary.splits) == 1


def test_folder_and_archive_and_listing_order_give_the_same_bytes(source, tmp_path):
    run(source, tmp_path / "from_folder")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for number, order in enumerate((files, files[::-1])):
        archive = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            for path in order:
                opened.write(path, f"top/{path.relative_to(source)}")
        run(archive, tmp_path / f"from_{number}")
        assert tree_digest(tmp_path / f"from_{number}") == tree_digest(tmp_path / "from_folder")


def test_a_second_run_touches_nothing(source, tmp_path):
    first = run(source, tmp_path / "root")
    before = tree_times(tmp_path / "root")
    second = run(source, tmp_path / "root")
    assert tree_times(tmp_path / "root") == before
    assert (first.changed_files, second.changed_files) == (14, 0)
    assert second.digest == first.digest


@pytest.mark.parametrize("options", [{"seed": 1}, {"num_train": 2}, {"on_bad": "skip"}])
def test_other_parameters_over_an_old_root_give_what_a_fresh_run_gives(source, tmp_path, options):
    run(source, tmp_path / "root")
    run(source, tmp_path / "root", **options)
    run(source, tmp_path / "fresh", **options)
    assert tree_digest(tmp_path / "root") == tree_digest(tmp_path / "fresh")


def test_a_changed_source_over_an_old_root_gives_what_a_fresh_run_gives(source, tmp_path):
    run(source, tmp_path / "root")
    for name in ("images/p0.png", "annotations/p0.xml"):
        (source / name).unlink()
    run(source, tmp_path / "root")
    run(source, tmp_path / "fresh")
    assert tree_digest(tmp_path / "root") == tree_digest(tmp_path / "fresh")


def test_twenty_kills_leave_the_old_state_or_the_new_one_and_the_next_run_makes_the_same_bytes(tmp_path):
    source, root = write_files(tmp_path / "source", dataset_files(18)), tmp_path / "root"

    def held():
        finish_preparation(root)
        return {name: digest for name, digest in tree_digest(root).items() if not name.startswith(".")}

    def make(seed):
        run(source, root, num_train=10, seed=seed)

    make(1)
    new = held()
    make(0)
    old, start = held(), time.monotonic()
    make(1)
    took, draw, kills = time.monotonic() - start, random.Random(0), 0
    while kills < 20:
        make(0)
        kills += killed_after(draw.uniform(0, took), partial(make, 1))
        assert held() in (old, new)
        make(1)
        assert held() == new


def test_all_problems_are_listed_at_once_and_nothing_is_written(source, tmp_path):
    bad = {
        "annotations/p0.xml": voc_xml("p0.png", [("cat", (9, 2, 3, 4)), ("cat", ("x", 2, 3, 4))]),
        "annotations/p1.xml": b"<annotation>",
        "images/p2.png": b"no picture",
    }
    write_files(source, bad)
    with pytest.raises(DatasetError) as raised:
        run(source, tmp_path / "root")
    message = str(raised.value)
    assert message.startswith(f"{source}: 5 problems, nothing was written\n")
    for place in (
        "p0.xml:4: object 1",
        "p0.xml:7: object 2",
        "p1.xml:1:",
        "images/p2.png: ",
        "--on_bad skip",
    ):
        assert place in message
    assert not (tmp_path / "root").exists()


def test_at_most_fifty_problems_are_listed(source, tmp_path):
    items = [("cat", (index + 1, 2, index, 9)) for index in range(70)]
    write_files(source, {"annotations/p0.xml": voc_xml("p0.png", [*items, ("cat", (1, 2, 3, 4))])})
    with pytest.raises(DatasetError, match="70 problems") as raised:
        run(source, tmp_path / "root")
    lines = str(raised.value).splitlines()
    assert len([line for line in lines if "p0.xml:" in line]) == 50
    assert "... and 20 more" in lines[51]


def test_skipping_leaves_bad_boxes_and_pictures_out_and_counts_them(source, tmp_path):
    bad = {
        "annotations/p0.xml": voc_xml("p0.png", [("cat", (9, 2, 3, 4)), ("dog", (1, 2, 3, 4))]),
        "images/p2.png": b"no picture",
    }
    write_files(source, bad)
    summary = run(source, tmp_path / "root", on_bad="skip", num_train=3)
    rows = [row for split in ("train", "test") for row in read_table(tmp_path / "root" / split / "annotations.csv")]
    assert sorted((row.image_name, row.label_name) for row in rows) == [
        ("p0.png", "dog"),
        ("p1.png", "cat"),
        ("p3.png", "cat"),
        ("p4.png", "cat"),
    ]
    assert Counter(problem.drops for problem in summary.skipped) == {"box": 1, "picture": 1}
    assert "skipped    1 x box without area in the picture, 1 x unreadable picture" in str(summary)
    assert not list((tmp_path / "root").rglob("p2.*"))


def test_labels_with_marks_and_other_scripts_survive_to_the_reader(source, tmp_path):
    label = "no. 1 “part”, ünï 口罩?"
    for index in range(6):
        write_files(source, {f"annotations/p{index}.xml": voc_xml(f"p{index}.png", [(label, (1, 2, 3, 4))])})
    run(source, tmp_path / "root")
    assert {label} == {name for picture in read_split(tmp_path / "root" / "test") for name in picture.labels}


def test_identical_pictures_and_those_cut_by_the_split_are_told(source, tmp_path):
    write_files(source, {f"images/p{index}.png": png(seed=0) for index in range(3)})
    summary = run(source, tmp_path / "root", num_train=5, seed=0)
    cut = any(path.name in {"p0.png", "p1.png", "p2.png"} for path in (tmp_path / "root/test/images").iterdir())
    assert summary.identical == (("p0.png", "p1.png", "p2.png"),)
    assert summary.cut == (summary.identical if cut else ())
    cut_by_some_seed = {bool(run(source, tmp_path / f"{seed}", num_train=5, seed=seed).cut) for seed in range(8)}
    assert cut_by_some_seed == {True, False}


def test_large_splits_are_packed_with_what_their_tables_say(source, tmp_path, monkeypatch):
    write_files(source, {"images/p10.png": png(50, 60), "annotations/p10.xml": voc_xml("p10.png", [], (50, 60))})
    monkeypatch.setattr(pictures, "_LARGE_BYTES", 0)
    root = tmp_path / "root"
    run(source, root, num_train=5)
    for split in ("train", "test"):
        packed = read_split(root / split)
        (root / split / PACKED_NAME).unlink()
        told = read_split(root / split)
        for ours, theirs in zip(packed, told, strict=True):
            assert (ours.path, ours.width, ours.height, ours.labels) == (
                theirs.path,
                theirs.width,
                theirs.height,
                theirs.labels,
            )
            np.testing.assert_array_equal(ours.boxes_px, theirs.boxes_px)
    assert run(source, root, num_train=5).changed_files == 0
    assert (root / "train" / PACKED_NAME).is_file()


def test_the_manifest_records_parameters_and_digests(source, tmp_path):
    summary = run(source, tmp_path / "root", seed=3)
    manifest = json.loads((tmp_path / "root" / "prepare.json").read_text())
    assert manifest["parameters"] == {"num_train": 4, "on_bad": "error", "seed": 3}
    assert manifest["split_sha256"] == summary.digest
    assert manifest["files"] == {
        name: digest for name, digest in tree_digest(tmp_path / "root").items() if name != "prepare.json"
    }
    assert run(source, tmp_path / "other", seed=4).digest != summary.digest


@pytest.mark.parametrize("num_train", [0, 6, 600])
def test_an_impossible_split_is_refused_before_anything_is_written(source, tmp_path, num_train):
    with pytest.raises(DatasetError, match=r"there are 6 pictures.*from 1 to 5"):
        run(source, tmp_path / "root", num_train=num_train)
    assert not (tmp_path / "root").exists()


def test_roots_that_would_mix_with_the_source_are_refused(source, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for root, text in (
        (tmp_path / "file", "is a file"),
        (source / "images", "among the files of the source"),
        (source / "annotations" / "new", "among the files of the source"),
    ):
        with pytest.raises(DatasetError, match=text):
            run(source, root)
    inside = write_files(tmp_path / "root" / "train", dataset_files())
    with pytest.raises(DatasetError, match="the source lies in its train/ folder"):
        run(inside, tmp_path / "root")


@pytest.mark.parametrize("folder", ["", "out", "images/out"])
def test_a_root_within_the_source_is_refused(source, folder):
    with pytest.raises(DatasetError, match="lies among the files of the source; choose another --root"):
        run(source, source / folder)


def test_the_source_is_never_written(source, tmp_path):
    before = tree_times(source)
    run(source, tmp_path / "root")
    assert tree_times(source) == before


def test_no_progress_bar_is_drawn_where_there_is_no_terminal(source, tmp_path, capfd):
    run(source, tmp_path / "root", progress=True)
    assert capfd.readouterr() == ("", "")


def test_reading_works_from_another_folder(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(Path("source"), Path("root"))
    assert len(read_split(Path("root/train"))) == 4


def test_near_identical_pictures_stay_together_where_asked(tmp_path):
    """Three of eight pictures are one: as it is, and saved as JPEG twice."""
    files = dataset_files(8)
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8), (40, 30))
    files["images/p2.png"] = cv2.imencode(".png", picture)[1].tobytes()
    for name, quality in (("p4", 95), ("p6", 85)):
        files[f"images/{name}.png"] = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    source = write_files(tmp_path / "source", files)
    for split in ("grouped", "stratified"):
        for seed in range(6):
            summary = run(source, tmp_path / f"{split}{seed}", split=split, seed=seed, num_train=5)
            test = {path.stem for path in (tmp_path / f"{split}{seed}/test/images").iterdir()}
            assert len(test & {"p2", "p4", "p6"}) in (0, 3)
            assert len(test) == 3
            assert summary.groups == (("p2.png", "p4.png", "p6.png"),)


def test_a_stratified_split_has_the_same_share_of_every_class(tmp_path):
    files = dataset_files(12)
    for index in range(12):
        label = "rare" if index % 4 == 0 else "common"
        files[f"annotations/p{index}.xml"] = voc_xml(f"p{index}.png", [(label, (1, 2, 20, 25))])
    source = write_files(tmp_path / "source", files)
    for seed in range(6):
        summary = run(source, tmp_path / f"{seed}", split="stratified", seed=seed, num_train=8)
        assert [split.boxes for split in summary.splits] == [{"common": 6, "rare": 2}, {"common": 3, "rare": 1}]


def test_the_manifest_names_the_split_unless_it_is_random(source, tmp_path):
    for split, recorded in (("random", {}), ("grouped", {"split": "grouped"})):
        run(source, tmp_path / split, split=split)
        parameters = json.loads((tmp_path / split / "prepare.json").read_text())["parameters"]
        assert parameters == {"num_train": 4, "on_bad": "error", "seed": 0, **recorded}


def test_a_grouped_split_of_different_pictures_is_the_random_one(source, tmp_path):
    assert run(source, tmp_path / "a", split="grouped").digest == run(source, tmp_path / "b").digest
