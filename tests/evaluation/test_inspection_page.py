"""The page of `gdino inspect`, read as a browser would."""

import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from prepared_factory import write_split
from voc_factory import png

from gdino_lightning.data.inspection.survey import Survey, survey
from gdino_lightning.evaluation.inspection_page import SAMPLES, write_page


class Page(HTMLParser):
    """Text, links and pictures of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_of_the_drawn_dataset_shows_counts_plots_and_samples(drawn, tmp_path):
    found = survey(drawn, progress=False)
    path = write_page(found, tmp_path / "out", progress=False)
    page = Page(path)
    assert path == tmp_path / "out" / "index.html"
    assert set(page.sources) == {"classes.png", "sizes.png", "samples-1.jpg", "samples-2.jpg", "samples-3.jpg"}
    assert {file.name for file in path.parent.iterdir()} == {*page.sources, "index.html"}
    for source in page.sources:
        picture = cv2.imread(str(path.parent / source))
        assert min(picture.shape[:2]) > 200
        assert np.ptp(picture) > 100
    assert not page.tags & {"script", "link", "iframe"}
    assert "http" not in path.read_text()
    for split in found.splits:
        for label, boxes in split.boxes.items():
            assert label in page.text
            assert str(boxes) in page.text


def test_samples_are_pictures_with_the_class_and_no_more_than_a_sheet_holds(tmp_path):
    cats = {f"{index:02}.png": [("cat", (1, 2, 20, 25))] for index in range(20)}
    write_split(tmp_path / "train", {**cats, "dog.png": [("dog", (1, 2, 20, 25))]})
    write_page(survey(tmp_path, progress=False), tmp_path / "out", progress=False)
    text = (tmp_path / "out/index.html").read_text()
    dog, cat = text.split("<h3>")[1:]
    assert re.findall(r"train/images/[\w.]+", dog) == ["train/images/dog.png"]
    shown = re.findall(r"train/images/[\w.]+", cat)
    assert len(set(shown)) == SAMPLES
    assert "train/images/dog.png" not in shown


def test_the_page_is_the_same_again(tmp_path):
    write_split(tmp_path / "train", {f"{index}.png": [("cat", (1, 2, 41, 25))] for index in range(5)})
    pages = [write_page(survey(tmp_path, progress=False), tmp_path / name, progress=False) for name in "ab"]
    for file in pages[0].parent.iterdir():
        assert file.read_bytes() == (pages[1].parent / file.name).read_bytes()


def test_every_place_of_a_finding_is_on_the_page_and_duplicates_are_drawn(tmp_path):
    pictures = {f"{index:02}.png": png(seed=index) for index in range(20)}
    for split in ("train", "test"):
        write_split(tmp_path / split, {name: [("cat", (1, 2, 41, 25))] for name in pictures}, pictures)
    (tmp_path / "train/images/03.png").write_bytes(b"")
    page = Page(write_page(survey(tmp_path, progress=False), tmp_path / "out", progress=False))
    assert page.text.count("by 1 px") == 40
    assert "train/images/03.png: " in page.text
    assert "19 groups of byte-identical pictures in both splits" in page.text
    assert "train/images/19.png = test/images/19.png (the same boxes)" in page.text
    sheets = [source for source in page.sources if source.startswith("finding-")]
    assert len(sheets) == 1
    assert cv2.imread(str(tmp_path / "out" / sheets[0])).shape[0] > 19 * 100


@pytest.mark.parametrize("label", ["a <b> & 'c'", "ünï 口罩"])
def test_any_class_name_is_shown_as_it_is(tmp_path, label):
    write_split(tmp_path / "train", {"a.png": [(label, (1, 2, 20, 25))]})
    page = Page(write_page(survey(tmp_path, progress=False), tmp_path / "out", progress=False))
    assert label in page.text
    assert "b" not in page.tags


def test_a_class_whose_pictures_are_all_unreadable_is_shown_without_samples(tmp_path):
    write_split(tmp_path / "train", {"a.png": [("cat", (1, 2, 20, 25))], "b.png": [("dog", (9, 2, 3, 25))]})
    (tmp_path / "train/images/a.png").write_bytes(b"")
    found: Survey = survey(tmp_path, progress=False)
    page = Page(write_page(found, tmp_path / "out", progress=False))
    assert set(page.sources) == {"classes.png", "sizes.png", "samples-2.jpg"}
