"""What the page does, without a browser: asked once, shown often. The model is a stand-in that counts its calls."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from stand_ins import FakePredictor

from gdino_lightning.errors import DatasetError, PromptError
from gdino_lightning.web import session
from gdino_lightning.web.session import Thresholds, asked_phrases, look, own_phrases, read_upload, view


@pytest.fixture
def upload(tmp_path) -> dict[str, str]:
    """A red picture of 100x90 px, as Gradio describes an upload."""
    pixels = np.zeros((90, 100, 3), np.uint8)
    pixels[..., 2] = 200  # BGR
    path = tmp_path / "0a1b2c" / "holiday.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), pixels)
    return {"path": str(path), "orig_name": "holiday.png"}


def test_the_model_is_asked_once_however_often_the_thresholds_move(upload):
    predictor = FakePredictor()
    looked = look(predictor, upload, "cat . dog")
    counts = [len(view(looked, Thresholds(box_threshold=least)).rows) for least in (0.35, 0.5, 0.7, 0.95, 0.0)]
    assert counts == [3, 2, 1, 0, 3]
    assert len(predictor.looks) == 1


def test_the_model_sees_the_pixels_and_the_words(upload):
    predictor = FakePredictor()
    look(predictor, upload, "cat . dog")
    (picture, phrases), *_ = predictor.looks
    assert picture.shape == (90, 100, 3)
    assert picture[0, 0].tolist() == [200, 0, 0]
    assert phrases == "cat . dog"


def test_every_slider_reaches_the_answers(upload):
    looked = look(FakePredictor(), upload, "cat")
    view(looked, Thresholds(0.1, 0.2, 0.3))
    view(looked, Thresholds())
    assert looked.answers.asked == [(0.1, 0.2, 0.3), (None, None, None)]


def test_the_table_the_count_and_the_document_say_the_same(upload):
    shown = view(look(FakePredictor(), upload, "cat . dog"), Thresholds(box_threshold=0.35))
    assert shown.rows[0] == ("cat", 0.9, 10.0, 10.0, 50.0, 50.0)
    assert [row[0] for row in shown.rows] == ["cat", "cat", "dog"]
    assert shown.summary == "**3 boxes**: 2 cat, 1 dog"
    document = json.loads(shown.json)
    assert (document["picture"], document["width"], document["height"]) == ("holiday.png", 100, 90)
    assert document["thresholds"]["box_threshold"] == 0.35
    assert document["detections"][2] == {"phrase": "dog", "score": 0.4, "box_xyxy_px": [60.0, 20.0, 90.0, 80.0]}


def test_one_box_is_one_box_and_none_is_a_normal_result(upload):
    looked = look(FakePredictor(), upload, "cat . dog")
    assert view(looked, Thresholds(box_threshold=0.7)).summary == "**1 box**: 1 cat"
    empty = view(looked, Thresholds(box_threshold=0.95))
    assert empty.summary == session.NOTHING
    assert empty.rows == []
    assert json.loads(empty.json)["detections"] == []


def test_boxes_are_drawn_where_they_are_also_on_a_shrunk_picture(tmp_path, monkeypatch):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.zeros((3600, 4000, 3), np.uint8))  # shown at 1600x1440, two fifths
    looked = look(FakePredictor(), {"path": str(path)}, "cat")
    assert looked.size == (4000, 3600)
    assert looked.shown.shape == (1440, 1600, 3)
    drawn = []
    monkeypatch.setattr(session, "annotate", lambda picture, boxes, *_, **__: drawn.append(boxes))
    view(looked, Thresholds())
    assert drawn[0].tolist() == [[4, 4, 20, 20], pytest.approx([4.4, 4, 20, 20]), [24, 8, 36, 32]]
    assert view(looked, Thresholds()).rows[0][2:] == (10, 10, 50, 50)  # in px of the picture itself


def test_a_phrase_has_its_colour_whatever_else_is_asked_for(upload, monkeypatch):
    drawn: dict[str, set] = {}

    def note(picture, boxes, labels, names, scores, colors):
        for name, color in zip(names, colors, strict=True):
            drawn.setdefault(name, set()).add(color)

    monkeypatch.setattr(session, "annotate", note)
    for text in ("cat . dog", "dog . cat", "cat", "dog"):
        view(look(FakePredictor(), upload, text), Thresholds())
    assert [len(colors) for colors in drawn.values()] == [1, 1]
    assert drawn["cat"] != drawn["dog"]


def test_own_phrases_keep_the_thresholds_of_the_weights_and_other_words_do_not():
    predictor = FakePredictor(("with mask", "St. Bernard"))
    own = own_phrases(predictor)
    assert own == "with mask . St. Bernard"
    for same in (own, "", "  ", f"{own} .", "with mask\nSt. Bernard", " with  mask .\n. St. Bernard"):
        assert asked_phrases(predictor, same) is None
    assert asked_phrases(predictor, "with mask") == "with mask"
    assert asked_phrases(predictor, "cat\nred car .\n\n dog . bird") == "cat . red car . dog . bird"


def test_no_phrases_at_all_is_one_clear_line():
    with pytest.raises(PromptError, match=r"no phrases: type what to look for"):
        asked_phrases(FakePredictor(), " . \n")


@pytest.mark.parametrize("upload", [None, {}, {"path": None, "url": "data:image/png;base64,AAAA"}])
def test_no_picture_is_one_clear_line(upload):
    with pytest.raises(DatasetError, match=r"no picture: upload one"):
        look(FakePredictor(), upload, "cat")


def test_a_file_that_is_no_picture_is_named_as_the_user_knows_it(tmp_path):
    path = tmp_path / "cache" / "notes.png"
    path.parent.mkdir()
    path.write_text("not a picture")
    with pytest.raises(DatasetError) as caught:
        look(FakePredictor(), {"path": str(path), "orig_name": "my notes.png"}, "cat")
    assert str(caught.value).startswith("my notes.png: not a picture")
    assert str(tmp_path) not in str(caught.value)


def test_a_huge_picture_is_refused_by_its_header_alone(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    cv2.imwrite(str(path), np.zeros((8000, 6251), np.uint8))  # 50.008 megapixels
    monkeypatch.setattr(session, "read_picture", lambda _: pytest.fail("decoded"))
    with pytest.raises(DatasetError, match=r"^huge.png: 6251x8000 px is above 50 megapixels; scale it down$"):
        read_upload(path, path.name)


def test_a_picture_of_a_turned_camera_is_shown_upright(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right makes it upright
    Image.new("RGB", (60, 30), "blue").save(path, exif=exif)
    looked = look(FakePredictor(), {"path": str(path)}, "cat")
    assert (looked.size, looked.shown.shape) == ((30, 60), (60, 30, 3))


def test_a_name_that_tries_to_leave_its_folder_is_only_a_name(upload):
    assert look(FakePredictor(), upload | {"orig_name": "../../etc/passwd"}, "cat").name == "passwd"
