from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from voc_factory import png

from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.prepare import prepare
from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.journal import PictureResult
from gdino_lightning.inference.picture_files import PictureFiles
from gdino_lightning.inference.pictures import read_upright

NAMES = ["cat", 'R&B "<dog>"']


def picture(folder: Path, name: str, boxes=(), labels=(), orientation: int = 1) -> PictureResult:
    """A stored picture of 40x30 px, and a result with boxes of the upright one."""
    folder.mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = np.random.default_rng(len(name)).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(folder / name, exif=exif)
    width, height = (30, 40) if orientation > 4 else (40, 30)
    return PictureResult(name, str(folder / name), None, width, height, orientation, boxes, (0.5,) * len(boxes), labels)


def write_all(files: PictureFiles, results) -> None:
    for result in results:
        files.write(result, read_upright(Path(result.path))[0])
    files.write_class_list()


def test_what_is_written_as_voc_is_what_prepare_reads(tmp_path):
    source = tmp_path / "source"
    results = [
        picture(source, "a.png", ((1.5, 2.0, 30.0, 25.25), (10.0, 5.0, 20.0, 15.0)), (1, 0)),
        picture(source, "bb.jpg"),
        picture(source, "turned.jpg", ((20.0, 0.0, 30.0, 15.0),), (0,), orientation=6),
    ]
    write_all(PictureFiles(tmp_path / "out", ["voc"], NAMES), results)
    prepare(tmp_path / "out" / "voc", tmp_path / "data", num_train=2, progress=False)
    found = {each.name: each for split in ("train", "test") for each in read_split(tmp_path / "data" / split)}
    assert found["a.png"].boxes_px.tolist() == [[1.5, 2.0, 30.0, 25.25], [10.0, 5.0, 20.0, 15.0]]
    assert found["a.png"].labels == (NAMES[1], NAMES[0])
    assert found["bb.jpg"].labels == ()
    # in stored pixels, as the pictures that lie there
    assert (found["turned.jpg"].width, found["turned.jpg"].height) == (40, 30)
    assert found["turned.jpg"].boxes_px.tolist() == [[0.0, 0.0, 15.0, 10.0]]
    for name, each in found.items():
        assert each.path.read_bytes() == (source / name).read_bytes()


def test_a_box_that_two_phrases_share_is_one_object_of_the_better_one(tmp_path):
    box = (10.0, 6.0, 30.0, 18.0)
    write_all(PictureFiles(tmp_path, ["voc", "yolo"], NAMES), [picture(tmp_path / "s", "a.png", (box, box), (1, 0))])
    assert (tmp_path / "yolo/labels/a.txt").read_text() == "1 0.500000 0.400000 0.500000 0.400000\n"
    assert (tmp_path / "voc/annotations/a.xml").read_text().count("<object>") == 1


def test_yolo_labels_are_relative_to_the_stored_picture(tmp_path):
    results = [
        picture(tmp_path / "source", "a.png", ((10.0, 6.0, 30.0, 18.0),), (1,)),
        picture(tmp_path / "source", "turned.jpg", ((20.0, 0.0, 30.0, 20.0),), (0,), orientation=6),
        picture(tmp_path / "source", "none.png"),
    ]
    write_all(PictureFiles(tmp_path / "out", ["yolo"], NAMES), results)
    folder = tmp_path / "out" / "yolo"
    assert (folder / "labels" / "a.txt").read_text() == "1 0.500000 0.400000 0.500000 0.400000\n"
    # stored: x 0 to 20 of 40, y 0 to 10 of 30
    assert (folder / "labels" / "turned.txt").read_text() == "0 0.250000 0.166667 0.500000 0.333333\n"
    assert (folder / "labels" / "none.txt").read_text() == ""
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["a.png", "none.png", "turned.jpg"]
    assert yaml.safe_load((folder / "data.yaml").read_text())["names"] == dict(enumerate(NAMES))


def test_the_original_is_never_written_to(tmp_path):
    result = picture(tmp_path / "source", "a.png", ((1.0, 1.0, 9.0, 9.0),), (0,))
    before = Path(result.path).read_bytes()
    write_all(PictureFiles(tmp_path / "out", ["pictures", "voc", "yolo"], NAMES), [result, result])
    assert Path(result.path).read_bytes() == before


def test_drawings_are_upright_and_of_the_same_kind(tmp_path):
    result = picture(tmp_path / "source", "turned.png", ((3.0, 3.0, 20.0, 20.0),), (0,), orientation=8)
    files = PictureFiles(tmp_path, ["pictures"], NAMES)
    assert not files.are_there(result)
    write_all(files, [result])
    assert files.are_there(result)
    drawn = cv2.imread(str(tmp_path / "pictures" / "turned.png"))
    assert drawn.shape[0] / drawn.shape[1] == pytest.approx(40 / 30, abs=0.01)
    assert (tmp_path / "pictures" / "turned.png").read_bytes()[:4] == b"\x89PNG"


def test_a_frame_gets_labels_and_its_picture_but_no_drawing(tmp_path):
    frame = PictureResult("v.mp4-000003.jpg", "v.mp4", 3, 40, 30, 1, ((1.0, 1.0, 9.0, 9.0),), (0.5,), (0,))
    rgb = np.full((30, 40, 3), 90, np.uint8)
    PictureFiles(tmp_path, ["pictures", "voc"], NAMES).write(frame, rgb)
    stored = cv2.imread(str(tmp_path / "voc" / "images" / "v.mp4-000003.jpg"))
    np.testing.assert_allclose(stored, rgb, atol=3)
    assert (tmp_path / "voc" / "annotations" / "v.mp4-000003.xml").is_file()
    assert not (tmp_path / "pictures").exists()


def test_pictures_that_would_share_labels_are_refused_where_labels_are_wanted(tmp_path):
    names = ["a.png", "b.png", "A.jpg"]
    PictureFiles(tmp_path, ["pictures"], NAMES).check_names(names)
    with pytest.raises(ConfigError, match=r"a\.png and A\.jpg would share one yolo label file"):
        PictureFiles(tmp_path, ["yolo"], NAMES).check_names(names)


def test_a_name_without_a_known_suffix_is_drawn_as_jpeg(tmp_path):
    (tmp_path / "photo").write_bytes(png())
    result = PictureResult("photo", str(tmp_path / "photo"), None, 40, 30)
    write_all(PictureFiles(tmp_path, ["pictures"], NAMES), [result])
    assert (tmp_path / "pictures" / "photo.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
