import pytest
from formats_factory import COCO, A, B, json_bytes
from voc_factory import png, write_files

from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.source import named_apart, split_in
from gdino_lightning.data.tree import SourceFile
from gdino_lightning.errors import DatasetError


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("train", "train"),
        ("data/train-00000-of-00001.parquet", "train"),
        ("annotations/instances_train2017.json", "train"),
        ("trainval.txt", "train"),
        ("valid/_annotations.coco.json", "val"),
        ("VALIDATION", "val"),
        ("instances_val2017.json", "val"),
        ("train/annotations/instances_val2017.json", "val"),
        ("dev.jsonl", "val"),
        ("test/images", "test"),
        ("testing", "test"),
        ("training_day/x", "train"),
        ("contest", None),
        ("latest.json", None),
        ("trainer", None),
        ("devices", None),
        ("", None),
    ],
)
def test_the_split_that_a_name_tells_of(text, split):
    assert split_in(text) == split


def files(*paths):
    return {path: SourceFile(path.rpartition("/")[2], path, path) for path in paths}


def test_pictures_keep_their_names_where_these_differ():
    named = named_apart(files("x/b.png", "y/a.png"), "here")
    assert [(path, file.name, file.key) for path, file in named.items()] == [
        ("y/a.png", "a.png", "y/a.png"),
        ("x/b.png", "b.png", "x/b.png"),
    ]


def test_pictures_of_one_name_take_their_folders_into_it():
    named = named_apart(files("train/a.png", "val/A.png", "val/b.png"), "here")
    assert {path: file.name for path, file in named.items()} == {
        "train/a.png": "train__a.png",
        "val/A.png": "val__A.png",
        "val/b.png": "b.png",
    }


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("x/a.png", "x/A.png"), "here: 'a.png' and 'A.png' differ only in case; rename one"),
        (("x/a.png", "y/a.png", "x__a.png"), "would both be called 'x__a.png'"),
        ((f"{'x' * 250}/a.png", "y/a.png"), "its path is too long for a name"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(paths, message):
    with pytest.raises(DatasetError, match=message):
        named_apart(files(*paths), "here")


def test_a_dataset_whose_splits_share_names_is_prepared(tmp_path):
    source = write_files(
        tmp_path / "source",
        {
            "train/_annotations.coco.json": json_bytes({**COCO, "images": COCO["images"][:1]}),
            "train/a.png": A,
            "train/none.png": B,
            "valid/_annotations.coco.json": json_bytes({**COCO, "images": COCO["images"][:1]}),
            "valid/a.png": png(seed=9),
            "test/_annotations.coco.json": json_bytes({**COCO, "annotations": []}),
            "test/a.png": png(seed=10),
            "test/b.png": B,
        },
    )
    summary = str(prepare(source, tmp_path / "root", progress=False))
    assert (tmp_path / "root" / "train" / "images" / "train__a.png").read_bytes() == A
    assert (tmp_path / "root" / "test" / "images" / "valid__a.png").read_bytes() == png(seed=9)
    assert sorted(path.name for path in (tmp_path / "root").iterdir() if path.is_dir()) == ["test", "train"]
    assert "note       1 pictures that no annotation file names are left out" in summary
    assert "note       test has no boxes and is left out: 2 pictures" in summary
    assert "note       its val split is the test split here: it has no other" in summary
