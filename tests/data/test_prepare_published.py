"""`prepare` on the published archives."""

import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from voc_factory import tree_times

from gdino_lightning.data.inspection.survey import survey
from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.table import read_table

SHARED = Path(__file__).parents[2].parent / "shared"
JPEG = SHARED / "data" / "face-mask-detection-jpeg.zip"
PNG = SHARED / "data" / "face-mask-detection-png-sample.zip"

IDENTICAL = ((13, 737), (146, 219), (410, 428), (653, 775), (656, 690))
NEAR = ((514, 680), (156, 545), (662, 839), (451, 61), (435, 554), (354, 74), (665, 704))
"""Pictures that the dataset holds twice, told by sha256 and by eye."""

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data folder beside the checkout"),
]


def pairs(numbers: Iterable[tuple[int, int]]) -> set[frozenset[str]]:
    return {frozenset(f"maksssksksss{number}.jpg" for number in pair) for pair in numbers}


def test_the_real_dataset(tmp_path):
    root = tmp_path / "facemask"
    summary = prepare(JPEG, root, progress=False)
    before = tree_times(root)
    assert prepare(JPEG, root, progress=False).changed_files == 0
    assert tree_times(root) == before

    tables = {split: read_table(root / split / "annotations.csv") for split in ("train", "test")}
    rows = tables["train"] + tables["test"]
    assert Counter(row.label_name for row in rows) == {
        "with_mask": 3232,
        "without_mask": 717,
        "mask_weared_incorrect": 123,
    }
    assert [split.pictures for split in summary.splits] == [600, 253]
    assert [split.num_boxes for split in summary.splits] == [len(table) for table in tables.values()]
    assert (summary.clipped_boxes, summary.clipped_pictures, summary.largest_overhang_px) == (12, 11, 1.0)
    outside = {row.image_name for row in rows if row.box_px[2] > row.image_width}
    assert outside == {f"maksssksksss{n}.jpg" for n in (110, 231, 251, 457, 5, 501, 603, 616, 706, 787, 93)}
    assert {frozenset(group) for group in summary.identical} == pairs(IDENTICAL)
    assert summary.skipped == ()

    pictures = read_split(root / "train") + read_split(root / "test")
    assert len({picture.name for picture in pictures}) == 853
    assert max(len(picture.labels) for picture in pictures) == 115
    for picture in pictures:
        assert np.all(picture.boxes_px[:, 2:] <= (picture.width, picture.height))


def test_the_published_png_sample(tmp_path):
    summary = prepare(PNG, tmp_path / "root", num_train=15, progress=False)
    assert [split.pictures for split in summary.splits] == [15, 10]
    assert summary.clipped_pictures == 5
    assert prepare(PNG, tmp_path / "root", num_train=15, progress=False).changed_files == 0
    with zipfile.ZipFile(PNG) as archive:
        published = {Path(name).name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
    copied = {path.name: path.read_bytes() for path in (tmp_path / "root").glob("*/images/*")}
    assert copied == published


@pytest.mark.parametrize("split", ["grouped", "stratified"])
def test_no_picture_of_the_real_dataset_is_in_both_splits(tmp_path, split):
    summary = prepare(JPEG, tmp_path, split=split, progress=False)
    assert {frozenset(group) for group in summary.groups} == pairs(IDENTICAL + NEAR)
    assert [counts.pictures for counts in summary.splits] == [600, 253]
    test = {path.name for path in (tmp_path / "test" / "images").iterdir()}
    assert not [pair for pair in pairs(IDENTICAL + NEAR) if len(pair & test) == 1]
    if split == "stratified":
        expected = {"with_mask": 958.6, "without_mask": 212.7, "mask_weared_incorrect": 36.5}  # 253/853 of each
        for label, boxes in summary.splits[1].boxes.items():
            assert abs(boxes - expected[label]) <= max(1, 0.01 * expected[label])


def test_inspection_of_the_real_dataset_finds_what_is_known_of_it(tmp_path):
    prepare(JPEG, tmp_path, progress=False)
    found = survey(tmp_path, progress=False)
    groups = [group for finding in found.findings for group in finding.groups]
    assert {frozenset(look.path.name for look in group) for group in groups} == pairs(IDENTICAL + NEAR)
    test = {path.name for path in (tmp_path / "test" / "images").iterdir()}
    leaking = [group for finding in found.findings if "both splits" in finding.text for group in finding.groups]
    expected = {pair for pair in pairs(IDENTICAL + NEAR) if len(pair & test) == 1}
    assert {frozenset(look.path.name for look in group) for group in leaking} == expected
    assert expected
    text = str(found)
    assert "width 193 to 600 px (median 400), height 156 to 600 px (median 280); 136 different sizes" in text
    assert "2,775 small (68%), 1,044 medium (26%), 253 large (6%)" in text
    assert "warning    12 boxes leaving the picture" in text
    assert "/images/maksssksksss603.jpg: 115 boxes" in text
    assert "cannot be" not in text
