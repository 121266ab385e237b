import logging
from pathlib import Path

import pytest
import torch

from gdino_lightning.data.dataset import Demand
from gdino_lightning.errors import ConfigError
from gdino_lightning.training.queries import check_queries, num_places


def demand(num_boxes: int, canvas: tuple[int, int] = (320, 320)) -> Demand:
    return Demand(Path(f"{num_boxes}.png"), num_boxes, canvas)


@pytest.mark.parametrize("canvas", [(32, 32), (64, 96), (160, 224), (33, 70)])
def test_the_places_of_a_canvas_are_those_that_the_encoder_sees(detector, canvas):
    width, height = canvas
    pixels, mask = torch.zeros(1, 3, height, width), torch.ones(1, height, width, dtype=torch.bool)
    features = detector.encode_image(pixels, mask).features
    assert num_places(detector.model.config, width, height) == features.shape[1]


def test_one_box_in_a_hundred_may_be_without_a_query(detector, caplog):
    config = detector.model.config  # 100 queries
    check_queries([demand(100), demand(0)], config)
    assert not caplog.records
    check_queries([demand(102), demand(98)], config)  # 2 of 200
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == ("2 of 200 boxes have no query left and are not learned (102.png: 102 boxes, 100 queries)")
    with pytest.raises(ConfigError, match=r"^3 of 200 .*\(103.png: 103 boxes, 100 queries\); use weights with more"):
        check_queries([demand(103), demand(97)], config)


def test_a_small_picture_has_as_many_queries_as_places(detector, caplog):
    config = detector.model.config
    check_queries([demand(22, (32, 32)), demand(9)], config)  # 16 + 4 + 1 + 1 places
    assert caplog.messages == [
        "1 of 2 pictures are so small that they get fewer than the model's 100 queries (the smallest 22); raise "
        "data.short_side if they may show as many things"
    ]
    with pytest.raises(ConfigError, match=r"1 of 23 boxes .*23.png: 23 boxes, 22 queries.*data\.short_side"):
        check_queries([demand(23, (32, 32))], config)
