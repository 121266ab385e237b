"""An address is refused wherever a file is expected, and nothing is looked up for it."""

import socket
from pathlib import Path

import pytest
from voc_factory import png

from gdino_lightning.cli import main
from tests.bad_inputs.case import FIT
from tests.bad_inputs.g_settings import prepared

SCHEMES = ("http://127.0.0.1:9/a.ckpt", "https://example.invalid/a", "file:///etc/passwd", "s3://bucket/a", "hf://a/b")
DETECT = ("detect", "--source=a.png", "--phrases=cat", "--output=found")
DOORS = {
    "fit --model.weights": (*FIT, "--model.weights={}"),
    "fit --ckpt_path": ("fit", "--ckpt_path={}"),
    "validate --ckpt_path": ("validate", "--ckpt_path={}"),
    "test --ckpt_path": ("test", "--ckpt_path={}"),
    "predict --ckpt_path": ("predict", "--ckpt_path={}"),
    "fit --config": ("fit", "--config={}"),
    "fit --trainer.callbacks": (*FIT, "--trainer.callbacks={}"),
    "fit --trainer": (*FIT, "--trainer={}"),
    "fit --data.root": (*FIT, "--data.root={}"),
    "fit --data.source": (*FIT, "--data.root=none", "--data.source={}"),
    "prepare --source": ("prepare", "--source={}", "--root=new"),
    "inspect --root": ("inspect", "--root={}"),
    "detect --weights": (*DETECT, "--weights={}"),
    "detect --source": ("detect", "--weights=nano-random", "--source={}", "--phrases=cat", "--output=found"),
    "detect --phrases": ("detect", "--weights=nano-random", "--source=a.png", "--phrases={}.yaml", "--output=found"),
    "edit --weights": ("edit", "--source=a.png", "--phrase=cat", "--output=b.png", "--weights={}"),
    "edit --source": ("edit", "--source={}", "--phrase=cat", "--output=b.png", "--weights=nano-random"),
    "export --weights": ("export", "--weights={}", "--format=hf", "--output=folder"),
    "serve --weights": ("serve", "--weights={}"),
    "world --weights": ("world", "--weights={}", "--num_images=1"),
    "select --run": ("select", "--run={}"),
    "compare": ("compare", "{}", "{}"),
    "phrases --candidates": ("phrases", "--candidates={}", "--config=a.yaml"),
    "phrases --config": ("phrases", "--candidates=a.yaml", "--config={}"),
}


@pytest.mark.parametrize("door", DOORS)
def test_an_address_is_no_file(tmp_path, monkeypatch, capfd, door):
    monkeypatch.chdir(tmp_path)
    prepared()
    Path("a.png").write_bytes(png())
    Path("a.yaml").write_text("model: {phrases: [cat]}\n")

    def dial(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", dial)
    for address in SCHEMES:
        assert main([part.format(address) for part in DOORS[door]]) == 2
        printed = capfd.readouterr().err
        assert "Traceback" not in printed
        assert address.split("/")[-1] in printed.splitlines()[-1]
