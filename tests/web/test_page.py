"""The page in headless Chromium, over the real program with the miniature's weights."""

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from benchmarks._page_driver import Keys, Page, browser, serving
from gdino_lightning.data.world import draw_scene
from gdino_lightning.inference.predictor import Predictor

pytestmark = pytest.mark.slow
SUPPORT = Path(__file__).parents[1] / "support"

# the program, which notes every question to the model and every address outside this machine that it turns to
WATCHED = """
import sys
from pathlib import Path

notes = Path(sys.argv.pop(1))
sys.path.append(sys.argv.pop(1))
from outside import dialled


def note(event, arguments):
    if (machine := dialled(event, arguments)) is not None:
        with notes.open("a") as file:
            print("outside", machine, file=file)


sys.addaudithook(note)
from gdino_lightning.cli import main
from gdino_lightning.inference.predictor import Predictor

look = Predictor.look


def noted_look(self, *arguments, **keywords):
    with notes.open("a") as file:
        print("look", file=file)
    return look(self, *arguments, **keywords)


Predictor.look = noted_look
sys.exit(main(sys.argv[1:]))
"""


class Served(NamedTuple):
    """A running page: its address and what the program noted."""

    url: str
    notes: Path

    def lines(self) -> list[str]:
        return self.notes.read_text().splitlines()


class Drawn(NamedTuple):
    path: Path
    pixels: np.ndarray
    phrases: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Drawn:
    """A drawn scene of 640x480 px and the kinds of its things."""
    drawn = draw_scene(11, 4, "seen", (480, 640))
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    cv2.imwrite(str(path), drawn.image[..., ::-1])
    return Drawn(path, drawn.image, " . ".join(sorted({thing.kind for thing in drawn.objects})))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    notes = tmp_path_factory.mktemp("notes") / "notes.txt"
    notes.touch()
    program = ("-c", WATCHED, str(notes), str(SUPPORT))
    with serving("--weights", "nano", "--device", "cpu", "--port", str(_free_port()), program=program) as url:
        yield Served(url, notes)


@pytest.fixture(scope="module")
def chromium():
    with browser() as driver:
        yield driver


@pytest.fixture
def page(chromium, served) -> Page:
    """The page, opened anew."""
    return Page(chromium, served.url)


@pytest.fixture
def found(page, scene) -> Page:
    """The page after the scene was uploaded, its words typed and the button pressed."""
    page.upload(scene.path)
    page.type_phrases(scene.phrases)
    page.detect()
    return page


def test_upload_type_detect_and_a_slider_changes_the_count_without_the_model(found, served, scene):
    answers = Predictor.from_pretrained("nano", device="cpu").look(scene.pixels, scene.phrases)
    usual = answers.detections()
    strict = answers.detections(box_threshold=0.5, text_threshold=0.25, nms_iou=0.5)
    assert 0 < len(strict) < len(usual)
    assert found.count() == len(usual)
    asked = served.lines().count("look")
    found.slide("box_threshold", *[Keys.ARROW_RIGHT] * 15)  # steps of .01
    found.wait_for_count(len(strict))
    assert served.lines().count("look") == asked == 1


def test_table_and_download_hold_what_python_finds(found, scene, tmp_path):
    expected = Predictor.from_pretrained("nano", device="cpu").predict(scene.pixels, scene.phrases)
    document = json.loads(found.download("download", tmp_path).read_text())
    assert (document["picture"], document["width"], document["height"]) == ("scene.png", 640, 480)
    assert [each["phrase"] for each in document["detections"]] == expected.texts()
    boxes = [each["box_xyxy_px"] for each in document["detections"]]
    assert np.allclose(boxes, expected.boxes, atol=0.06)  # one decimal
    table = found.table()
    assert [row[0] for row in table] == expected.texts()
    assert np.allclose([[float(cell) for cell in row[2:]] for row in table], boxes)


def test_what_is_shown_is_edited_and_the_rest_is_kept_to_the_bit(found, scene, tmp_path):
    found.open_tab("Edit")
    assert "of the pixels are untouched" in found.press("edit", "edit_summary")
    edited = cv2.imread(str(found.download("edit_download", tmp_path)))[..., ::-1]
    changed = (edited != scene.pixels).any(2)
    boxes = Predictor.from_pretrained("nano", device="cpu").predict(scene.pixels, scene.phrases).boxes
    near = np.zeros_like(changed)
    for x1, y1, x2, y2 in boxes.tolist():
        pad = round(0.15 * max(x2 - x1, y2 - y1)) + 1
        near[max(0, int(y1) - pad) : int(y2) + pad + 1, max(0, int(x1) - pad) : int(x2) + pad + 1] = True
    assert changed.any()
    assert not (changed & ~near).any()


def test_another_picture_empties_the_page(found, scene):
    found.clear()
    found.wait_for_count(0)
    assert found.summary() == ""


def test_no_phrases_are_one_line(page, scene):
    page.upload(scene.path)
    page.type_phrases(" . ")
    page.click("detect")
    assert page.error() == "no phrases: type what to look for, such as `cat . red car`"


def test_a_file_that_is_no_picture_is_one_line_that_names_it(page, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    page.upload(path)
    page.type_phrases("cat")
    page.click("detect")
    assert page.error() == "notes.png: not a picture that can be read (unknown format)"


def test_a_missing_browser_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install chromium chromium-driver"), browser():
        pass


def test_files_of_this_machine_are_not_served(served):
    for path in ("/etc/hostname", str(Path(__file__)), str(Path(__file__).parents[2] / "pyproject.toml")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{served.url}gradio_api/file={path}")
        assert refused.value.code == 403


def test_nothing_outside_this_machine_was_asked_for(found, served):
    """Last: the browser's log and the program's notes hold all that the tests above did, too."""
    assert found.outside_requests() == []
    assert [line for line in served.lines() if line.startswith("outside")] == []
