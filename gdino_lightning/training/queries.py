"""Whether the model has a query for every box that it is to find: a query answers with one box."""

import logging
from collections.abc import Sequence
from typing import Any

from transformers import GroundingDinoConfig, MMGroundingDinoConfig

from gdino_lightning.data.dataset import Demand
from gdino_lightning.errors import ConfigError

Config = GroundingDinoConfig | MMGroundingDinoConfig

MOST_WITHOUT_QUERY = 0.01  # of the boxes

logger = logging.getLogger(__name__)


def check_queries(demands: Sequence[Demand], config: Config) -> None:
    """Warn of boxes that no query is left for, and of pictures with fewer places than the model has queries.

    Queries start from places of the feature maps, so a picture on a canvas with few of them gets fewer queries. Boxes
    beyond the queries are not matched: the model learns nothing from them.

    Args:
        demands: What training asks for, picture by picture.
        config: Of the model.

    Raises:
        ConfigError: More than one box in a hundred has no query.
    """
    queries = [min(config.num_queries, num_places(config, *demand.canvas)) for demand in demands]
    surplus = [max(0, demand.num_boxes - count) for demand, count in zip(demands, queries, strict=True)]
    if any(surplus):
        text = _without_query(demands, queries, surplus)
        if sum(surplus) > MOST_WITHOUT_QUERY * sum(demand.num_boxes for demand in demands):
            raise ConfigError(f"{text}; use weights with more queries, larger pictures (data.short_side), or crops")
        logger.warning("%s", text)
    if few := sum(count < config.num_queries for count in queries):
        logger.warning(
            "%d of %d pictures are so small that they get fewer than the model's %d queries (the smallest %d); raise "
            "data.short_side if they may show as many things",
            few,
            len(queries),
            config.num_queries,
            min(queries),
        )


def num_places(config: Config, width: int, height: int) -> int:
    """Return how many places the feature maps of a canvas of `width` x `height` px have."""
    backbone: Any = config.backbone_config
    strides = [backbone.patch_size * 2 ** (stage - 1) for stage in backbone.out_indices]
    strides += [strides[-1] * 2 ** (more + 1) for more in range(config.num_feature_levels - len(strides))]
    return sum(-(-width // stride) * -(-height // stride) for stride in strides)


def _without_query(demands: Sequence[Demand], queries: Sequence[int], surplus: Sequence[int]) -> str:
    worst = max(range(len(demands)), key=lambda index: surplus[index])
    return (
        f"{sum(surplus)} of {sum(demand.num_boxes for demand in demands)} boxes have no query left and are not learned "
        f"({demands[worst].path}: {demands[worst].num_boxes} boxes, {queries[worst]} queries)"
    )
