from collections import Counter

import pytest
import yaml
from formats_factory import LAYOUTS, TRUTH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from voc_factory import dataset_files, png, tree_digest, tree_times, write_files

from gdino_lightning.data.annotation import AnnotatedCaption
from gdino_lightning.data.caption_lines import write_captions
from gdino_lightning.data.check import check_source
from gdino_lightning.data.fields import clip_box
from gdino_lightning.data.prepare import WRITERS, convert, prepare
from gdino_lightning.data.recognise import open_source
from gdino_lightning.data.table import Row, write_table
from gdino_lightning.errors import DatasetError

WIDTH, HEIGHT = 40, 30
TARGETS = tuple(WRITERS)


def contents(path):
    """Picture name -> its boxes with labels, splits, captions."""
    with open_source(path) as source:
        checked = check_source(source, progress=False)
        assert checked.problems == ()
        boxes = {
            item.picture.name: Counter((row.label_name, row.box_px) for row in item.rows) for item in checked.pictures
        }
        captions = {
            item.picture.name: [(caption.text, caption.spans, caption.boxes_px) for caption in item.captions]
            for item in checked.pictures
        }
        return boxes, source.split_of, captions


def write(source, root, to):
    return convert(source, root, to, progress=False)


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_format_becomes_any_other(tmp_path, layout, to):
    source = write_files(tmp_path / "source", LAYOUTS[layout][1])
    write(source, tmp_path / "root", to)
    boxes, split_of, _ = contents(tmp_path / "root")
    assert {name: set(found) for name, found in boxes.items()} == TRUTH
    whole = len(contents(source)[1]) < 2 or layout == "Arrow"
    assert set(split_of.values()) == ({"train"} if whole else {"train", "test"})


labels = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8).map(str.strip).filter(bool)


@st.composite
def boxes_in_pictures(draw):
    x1, y1 = draw(st.floats(0, WIDTH - 3)), draw(st.floats(0, HEIGHT - 3))
    x2, y2 = draw(st.floats(x1 + 1.5, WIDTH + 2)), draw(st.floats(y1 + 1.5, HEIGHT + 2))
    box = (x1, y1, x2, y2)
    return tuple(map(float, map(round, box))) if draw(st.booleans()) and x2 - x1 > 3 and y2 - y1 > 3 else box


@pytest.mark.parametrize("to", TARGETS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pictures=st.lists(
        st.lists(st.tuples(labels, boxes_in_pictures()), max_size=4, unique_by=lambda item: item[1]),
        min_size=1,
        max_size=4,
    ).filter(any),
    num_train=st.none() | st.integers(1, 3),
)
def test_round_trips_keep_every_box_and_class(tmp_path_factory, to, pictures, num_train):
    folder = tmp_path_factory.mktemp("trip")
    rows = [Row(label, box, f"p{i}.png", WIDTH, HEIGHT) for i, items in enumerate(pictures) for label, box in items]
    source = write_files(folder / "source", {f"images/p{i}.png": png(seed=i) for i in range(len(pictures))})
    (source / "boxes.csv").write_bytes(write_table(rows))
    enough = num_train if num_train is not None and num_train < len(pictures) else None
    convert(source, folder / "there", to, num_train=enough, progress=False)
    found, splits, _ = contents(folder / "there")
    assert sorted(found) == [f"p{i}.png" for i in range(len(pictures))]
    for index, items in enumerate(pictures):
        expected = [(label, clip_box(box, WIDTH, HEIGHT) if to == "yolo" else box) for label, box in items]
        read = list(found[f"p{index}.png"].elements())
        assert [label for label, _ in read] == [" ".join(label.split()) for label, _ in expected]
        for (_, box), (_, wanted) in zip(read, expected, strict=True):
            assert box == pytest.approx(wanted, abs=1e-6)
            if to in ("voc", "odvg"):
                assert box == wanted
    assert set(splits.values()) == ({"train", "test"} if enough else {"train"})


def test_coco_files_are_read_alike_by_pycocotools(tmp_path, capsys):
    write(write_files(tmp_path / "source", LAYOUTS["COCO"][1]), tmp_path / "root", "coco")
    coco = COCO(tmp_path / "root" / "annotations" / "instances_train.json")
    (image_id,) = coco.getImgIds()
    assert coco.loadImgs(image_id)[0]["file_name"] == "a.png"
    found = {(coco.cats[item["category_id"]]["name"], tuple(item["bbox"]), item["area"]) for item in coco.anns.values()}
    assert found == {("cat", (1, 2, 19, 23), 437), ("dog", (5.5, 5, 5, 5), 25)}
    assert coco.getCatIds() == [1, 2]


def test_yolo_files_are_as_its_readers_ask(tmp_path):
    write(write_files(tmp_path / "source", LAYOUTS["COCO"][1]), tmp_path / "root", "yolo")
    described = yaml.safe_load((tmp_path / "root" / "data.yaml").read_text())
    assert described == {
        "path": ".",
        "train": "images/train",
        "test": "images/test",
        "val": "images/test",
        "names": {0: "cat", 1: "dog"},
    }
    lines = (tmp_path / "root" / "labels" / "train" / "a.txt").read_text().splitlines()
    values = [[float(cell) for cell in line.split()] for line in lines]
    assert values == [[0, 10.5 / 40, 13.5 / 30, 19 / 40, 23 / 30], [1, 8 / 40, 7.5 / 30, 5 / 40, 5 / 30]]
    assert (tmp_path / "root" / "labels" / "test" / "b.txt").read_bytes() == b""


CAT_AND_DOGS = AnnotatedCaption(
    where="",
    text="a cat and two dogs",
    spans=(((0, 5),), ((10, 18),)),
    boxes_px=(((1.0, 2.0, 20.0, 25.0),), ((5.0, 5.0, 9.0, 9.0), (6.0, 6.5, 12.0, 12.0))),
)
NO_BIRD = AnnotatedCaption(where="", text="no bird", spans=(((3, 7),),), boxes_px=((),))


def captioned(folder):
    files = dict(LAYOUTS["tables of this project"][1])
    files["test/annotations.csv"] += b"dog,1,2,9,9,b.png,40,30\n"
    files["train/captions.jsonl"] = write_captions([("a.png", CAT_AND_DOGS), ("a.png", NO_BIRD)])
    return write_files(folder, files)


def test_captions_travel_through_odvg_and_back(tmp_path):
    source = captioned(tmp_path / "source")
    write(source, tmp_path / "odvg", "odvg")
    assert contents(tmp_path / "odvg")[2] == contents(source)[2]
    prepare(tmp_path / "odvg", tmp_path / "back", progress=False)
    for name in ("annotations.csv", "captions.jsonl"):
        assert (tmp_path / "back" / "train" / name).read_bytes() == (source / "train" / name).read_bytes()


def test_a_format_without_a_place_for_captions_says_so(tmp_path):
    summary = write(captioned(tmp_path / "source"), tmp_path / "root", "coco")
    assert "warning    2 captions left out: the written format has no place for them" in str(summary)


def test_the_same_again_changes_nothing_and_another_format_replaces_it(tmp_path):
    source = write_files(tmp_path / "source", dataset_files(4))
    assert write(source, tmp_path / "root", "yolo").changed_files == 9
    before, times = tree_digest(tmp_path / "root"), tree_times(tmp_path / "root")
    assert write(source, tmp_path / "root", "yolo").changed_files == 0
    assert tree_times(tmp_path / "root") == times
    write(source, tmp_path / "root", "voc")
    assert not (tmp_path / "root" / "data.yaml").exists()
    write(source, tmp_path / "root", "yolo")
    assert tree_digest(tmp_path / "root") == before


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_pictures_that_would_share_an_annotation_file_are_refused(tmp_path, to):
    files = {"images/a.png": png(), "images/a.bmp": png(), "boxes.csv": LAYOUTS["one CSV"][1]["boxes.csv"]}
    with pytest.raises(DatasetError, match=r"a\.png: a\.bmp would share a\.\w+ with it; rename one of them"):
        write(write_files(tmp_path / "source", files), tmp_path / "root", to)
    assert not (tmp_path / "root").exists()


def test_files_that_were_not_made_here_are_not_replaced(tmp_path):
    source = write_files(tmp_path / "source", dataset_files(4))
    write_files(tmp_path / "root", {"data.yaml": b"mine"})
    with pytest.raises(DatasetError, match=r"data\.yaml: not made by prepare"):
        write(source, tmp_path / "root", "yolo")
    assert (tmp_path / "root" / "data.yaml").read_bytes() == b"mine"
