"""Boxes, shares and contrast, measured in pictures painted with and without a thing."""

from dataclasses import replace

import numpy as np
import pytest

from gdino_lightning.data.worlds.layout import Plan, paint_scene, plan_scene
from gdino_lightning.data.worlds.scene import size_word

PLANS = [(index, (160, 160)) for index in range(25)] + [(index, (120, 200)) for index in range(10)]


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return [plan_scene(21, index, "train", *size) for index, size in PLANS]


def changed(a: Plan, b: Plan, by: int = 0) -> np.ndarray:
    """Pixels that differ between two paintings. Shape (H, W)."""
    first, second = (paint_scene(plan).image.astype(int) for plan in (a, b))
    return np.abs(first - second).max(axis=2) > by


def without(plan: Plan, number: int) -> Plan:
    return replace(plan, placed=plan.placed[:number] + plan.placed[number + 1 :])


def alone(plan: Plan, number: int) -> Plan:
    return replace(plan, placed=(plan.placed[number],))


def test_boxes_are_tight_round_what_is_seen(plans):
    for plan in plans:
        for number, thing in enumerate(paint_scene(plan).objects):
            rows, columns = np.nonzero(changed(plan, without(plan, number)))
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert seen == pytest.approx(thing.box_px, abs=1.0)


def test_visible_is_the_share_that_nothing_covers(plans):
    covered = 0
    for plan in plans:
        for number, thing in enumerate(paint_scene(plan).objects):
            seen = changed(plan, without(plan, number)).sum()
            whole = changed(alone(plan, number), replace(plan, placed=())).sum()
            assert seen / whole == pytest.approx(thing.visible, abs=0.06)
            covered += thing.visible < 0.95
    assert covered >= 5


def test_things_are_hardly_hidden_and_signs_not_at_all():
    for index in range(120):
        for thing in paint_scene(plan_scene(22, index, "train", 160, 160)).objects:
            assert thing.visible >= (1.0 if thing.kind.startswith(("letter", "digit")) else 0.65)


def test_size_words_follow_the_longer_side_on_the_picture(plans):
    words = set()
    for plan in plans:
        scene = paint_scene(plan)
        for number, thing in enumerate(scene.objects):
            rows, columns = np.nonzero(changed(alone(plan, number), replace(plan, placed=())))
            share = max(np.ptp(rows) + 1, np.ptp(columns) + 1) / min(scene.image.shape[:2])
            words.add(thing.size)
            assert {"small": share < 0.22, "large": share > 0.33, None: 0.2 < share < 0.36}[thing.size]
    assert words == {"small", "large", None}


def test_size_word():
    assert [size_word(share) for share in (0.15, 0.27, 0.4)] == ["small", None, "large"]


def test_things_differ_clearly_from_their_background(plans):
    for plan in plans:
        empty = paint_scene(replace(plan, placed=())).image.astype(int)
        for number in range(len(plan.placed)):
            drawn = paint_scene(alone(plan, number)).image.astype(int)
            difference = np.linalg.norm(drawn - empty, axis=2)
            assert np.median(difference[difference > 8]) > 50


def test_boxes_and_bytes_follow_from_the_arguments():
    a, b = (paint_scene(plan_scene(3, 8, "unseen", 130, 170)) for _ in range(2))
    assert a.image.tobytes() == b.image.tobytes()
    assert a.objects == b.objects
