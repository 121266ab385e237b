import zipfile

import pytest
from formats_factory import LAYOUTS, TRUTH, A
from voc_factory import write_files

from gdino_lightning.data.check import check_source
from gdino_lightning.data.recognise import FORMATS, open_source
from gdino_lightning.errors import DatasetError


@pytest.fixture(params=["folder", "zip"])
def dataset(request, tmp_path):
    def write(files):
        if request.param == "folder":
            return write_files(tmp_path / "folder", files)
        with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return tmp_path / "archive.zip"

    return write


def found(path, format_name=None):
    """Format, picture name -> its boxes, picture name -> its split, problems."""
    with open_source(path, format_name) as source:
        checked = check_source(source, progress=False)
        boxes = {item.picture.name: {(row.label_name, row.box_px) for row in item.rows} for item in checked.pictures}
        return source.format, boxes, source.split_of, [problem.text for problem in checked.problems]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_read(dataset, layout):
    name, files = LAYOUTS[layout]
    form, boxes, split_of, problems = found(dataset(files))
    assert (form, boxes, problems) == (name, TRUTH, [])
    splits = [split_of.get(picture) for picture in ("a.png", "b.png")]
    unsplit = layout in ("VOC", "one CSV", "one COCO file", "imagefolder") or layout.startswith(
        ("YOLO of", "YOLO beside")
    )
    expected = [None, None] if unsplit else ["train", "val"]
    if layout == "tables of this project":
        expected = ["train", "test"]
    assert splits == (["train", "train"] if layout == "Arrow" else expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_folder_more_around_a_dataset_changes_nothing(tmp_path, layout):
    name, files = LAYOUTS[layout]
    if layout == "VOC devkit":  # which has two around it already
        files = {path.removeprefix("VOCdevkit/"): data for path, data in files.items()}
    folder = write_files(tmp_path, {f"My pets/{path}": data for path, data in files.items()})
    assert found(folder)[:2] == (name, TRUTH)


def test_the_pictures_of_a_source_are_read_as_they_are(dataset):
    for _, files in (LAYOUTS["Parquet"], LAYOUTS["COCO"]):
        with open_source(dataset(files)) as source:
            assert source.read(source.pictures[0]) == A
        break


def test_what_looks_like_two_formats_is_read_as_the_first_and_said(tmp_path):
    folder = write_files(tmp_path, {**LAYOUTS["VOC"][1], **LAYOUTS["YOLO of a labelling tool"][1]})
    with open_source(folder) as source:
        assert source.format == "voc"
        assert source.notes == ["also looks like yolo; --format chooses"]
    assert found(folder, "yolo")[:2] == ("yolo", TRUTH)


def test_a_format_that_it_is_not_is_refused_with_its_layout(tmp_path):
    folder = write_files(tmp_path, LAYOUTS["VOC"][1])
    with pytest.raises(
        DatasetError, match=r"does not look like coco: COCO .*; found annotations/ \(2 files\), images/"
    ):
        found(folder, "coco")


def test_the_message_names_every_layout(tmp_path):
    with pytest.raises(DatasetError) as raised:
        found(write_files(tmp_path, {"a.png": A}))
    for source in FORMATS.values():
        assert source.layout in str(raised.value)
