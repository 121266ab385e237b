"""What a report says of the machine."""

import socket

import pytest
from lightning.pytorch import Trainer

from gdino_lightning.training.environment import environment


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice
def test_versions_and_device_but_no_names_of_machines(tmp_path):
    found = environment(Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path))
    assert found["device"].startswith("cpu, ")
    assert found["processes"] == "1"
    assert {"torch", "lightning", "transformers", "gdino-lightning", "Python"} <= set(found)
    text = " ".join(found.values())
    assert socket.gethostname() not in text.split()
    assert str(tmp_path) not in text
