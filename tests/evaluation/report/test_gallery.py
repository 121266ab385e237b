"""The drawn pictures: the right ones, in order, with boxes where they belong."""

from pathlib import Path

import cv2
import numpy as np

from gdino_lightning.evaluation.records import PictureRecord, RecordSet
from gdino_lightning.evaluation.report.gallery import gallery_sections
from gdino_lightning.evaluation.report.sections import Subject
from gdino_lightning.inference.draw import color_of


def subject_in(folder: Path, num_found: list[int], size: tuple[int, int] = (600, 400)) -> tuple[Subject, list[Path]]:
    """Pictures with two objects of class 1, of which the first few are found."""
    truth = np.array([[60, 60, 240, 240], [300, 60, 480, 240]], np.float32)
    records, paths = [], []
    for image_id, found in enumerate(num_found):
        paths.append(folder / f"<{image_id}>.png")
        cv2.imwrite(str(paths[-1]), np.zeros((size[1], size[0], 3), np.uint8))
        scores = np.full(found, 0.9, np.float32)
        records.append(
            PictureRecord(image_id, truth, np.array([1, 1]), truth[:found], scores, np.ones(found, np.int64))
        )
    names = tuple(path.name for path in paths)
    return Subject("test", RecordSet(("a", "b"), names, tuple(records))), paths


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


def test_best_and_worst_are_named_and_ordered(tmp_path):
    subject, paths = subject_in(tmp_path, [1, 2, 0, 1])
    (best, worst), sheets = gallery_sections(subject, paths, 2)
    assert [best.title, worst.title] == ["Best pictures", "Worst pictures"]
    assert best.text.startswith("The 2 with the highest F1")
    assert [picture.caption for picture in best.pictures] == [
        "1. <1>.png: F1 1.00, 2 right, 0 false, 0 missed",
        "2. <0>.png: F1 0.67, 1 right, 0 false, 1 missed",
    ]
    assert [picture.caption.split(":")[0] for picture in worst.pictures] == ["1. <2>.png", "2. <3>.png"]
    assert sorted(sheets) == ["best_pictures", "worst_pictures"]


def test_no_pictures_no_sections(tmp_path):
    subject, paths = subject_in(tmp_path, [1, 2])
    assert gallery_sections(subject, paths, 0) == ([], {})
    assert [section.title for section in gallery_sections(*subject_in(tmp_path, [1]), 5)[0]] == ["Best pictures"]


def test_boxes_of_a_shrunk_picture_stand_where_its_objects_are(tmp_path):
    subject, paths = subject_in(tmp_path, [1], size=(1120, 600))  # shrunk by two, to 560 x 300
    image = decoded(gallery_sections(subject, paths, 1)[0][0].pictures[0].data)
    assert image.shape[1] == 2 * 560 + 4
    row = 24 + 75  # below the caption, through the left edges of both boxes

    def has_edge(column: int) -> bool:
        return bool(np.abs(image[row, column] - color_of(1)).max() < 80)

    assert has_edge(30)  # truth, on the left
    assert has_edge(150)
    assert has_edge(564 + 30)  # found
    assert not has_edge(564 + 150)  # missed
