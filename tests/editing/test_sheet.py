"""The sheet shows what was found, the mask and the result."""

import numpy as np
import torch

from gdino_lightning.editing.edit import Edited
from gdino_lightning.editing.sheet import edit_sheet
from gdino_lightning.inference.postprocess import Detections


def test_three_panels_of_one_size_from_left_to_right():
    before = np.full((600, 600, 3), 100, np.uint8)
    mask = np.zeros((600, 600), np.uint8)
    mask[200:400, 200:400] = 255
    after = before.copy()
    after[200:400, 200:400] = (10, 200, 30)
    found = Detections(
        torch.tensor([[200.0, 200, 400, 400]]), torch.tensor([0.5]), torch.tensor([0]), names=("green thing",)
    )
    sheet = edit_sheet(before, found, Edited(after, mask))
    centre = sheet.shape[0] // 2
    panels = [sheet[centre, sheet.shape[1] * each // 6] for each in (1, 3, 5)]
    assert [panel.tolist() for panel in panels] == [[100, 100, 100], [255, 255, 255], [10, 200, 30]]
    assert (before == 100).all()


def test_nothing_found_and_pictures_of_any_shape_make_a_sheet():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), names=("x",))
    for height, width in ((3, 4), (50, 2000), (2000, 50)):
        before = np.full((height, width, 3), 100, np.uint8)
        sheet = edit_sheet(before, nothing, Edited(before, np.zeros((height, width), np.uint8)))
        assert sheet.shape[2] == 3
        assert max(sheet.shape) < 4000
