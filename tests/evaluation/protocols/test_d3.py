"""AP of the descriptions of D3: COCO's, over those that a file names."""

import json
from copy import deepcopy

import pytest
from federated import draw

from gdino_lightning.errors import ConfigError, DatasetError
from gdino_lightning.evaluation.protocols.d3 import d3_scores
from tests.evaluation.protocols.test_coco import by_pycocotools

PRESENCE = {f"c{label}" for label in range(5)}


@pytest.fixture
def drawn(tmp_path):
    """The JSON of all descriptions, what was found, and a way to write the JSON of some."""
    official, found = draw(1, 40)
    for each in official["annotations"]:
        each["iscrowd"] = 0

    def write(word, names):
        part = deepcopy(official)
        part["categories"] = [each for each in part["categories"] if each["name"] in names]
        ids = {each["id"] for each in part["categories"]}
        part["annotations"] = [each for each in part["annotations"] if each["category_id"] in ids]
        path = tmp_path / f"d3_{word}_annotations.json"
        path.write_text(json.dumps(part))
        return path, part

    return found, write


def expected(found, part):
    ids = {each["name"]: each["id"] for each in part["categories"]}
    pictures = {each["coco_url"].rpartition("/")[2]: each["id"] for each in part["images"]}
    results = [
        {
            "image_id": pictures[name],
            "category_id": ids[found.class_names[label]],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for record, name in zip(found.records, found.picture_names, strict=True)
        for (x1, y1, x2, y2), score, label in zip(
            record.boxes.tolist(), record.scores.tolist(), record.labels, strict=True
        )
        if found.class_names[label] in ids
    ]
    return by_pycocotools(part, results)[0]


def test_each_part_is_scored_over_its_descriptions(drawn):
    found, write = drawn
    path, full = write("full", set(found.class_names))
    _, presence = write("pres", PRESENCE)
    _, absence = write("abs", set(found.class_names) - PRESENCE)
    parts = {"FULL": full, "PRES": presence, "ABS": absence}
    scores = d3_scores(found, path)
    assert scores == pytest.approx({name: expected(found, part) for name, part in parts.items()}, abs=1e-9)
    assert len(set(scores.values())) == 3


def test_parts_that_are_not_there_are_left_out_and_the_file_has_its_name(drawn, tmp_path):
    found, write = drawn
    path, _ = write("full", set(found.class_names))
    assert list(d3_scores(found, path)) == ["FULL"]
    for other in (None, tmp_path / "pres.json"):
        with pytest.raises(ConfigError, match=r"needs --annotations: d3_full_annotations\.json"):
            d3_scores(found, other)


def test_all_descriptions_have_to_be_in_the_whole(drawn):
    found, write = drawn
    path, _ = write("full", PRESENCE)
    with pytest.raises(DatasetError, match="has no category c5, c6, c7, c8"):
        d3_scores(found, path)
