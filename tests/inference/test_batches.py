import pytest
import torch

from gdino_lightning.inference.batches import usual_batch_size


@pytest.mark.parametrize(("device", "expected"), [("cpu", 2), ("cuda", 8), ("cuda:1", 8)])
def test_a_cpu_looks_at_few_pictures_together(device: str, expected: int) -> None:
    assert usual_batch_size(torch.device(device)) == expected
