"""`prepare` on the published archives."""

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from voc_factory import tree_times

from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.table import read_split, read_table

SHARED = Path(__file__).parents[2].parent / "shared"
JPEG = SHARED / "data" / "face-mask-detection-jpeg.zip"
PNG = SHARED / "data" / "face-mask-detection-png-sample.zip"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data folder beside the checkout"),
]


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
    pairs = {
        tuple(f"maksssksksss{n}.jpg" for n in pair)
        for pair in ((13, 737), (146, 219), (410, 428), (653, 775), (656, 690))
    }
    assert set(summary.identical) == pairs
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
