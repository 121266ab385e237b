"""What a stranger's run folder, checkpoint or YAML says is never run."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from canary import CANARY, MODULE, was_run, write_module
from voc_factory import write_files

from gdino_lightning.cli import main
from gdino_lightning.cli.run_config import check_run_config, read_run_config
from gdino_lightning.errors import ConfigError
from tests.bad_inputs.case import FIT
from tests.bad_inputs.g_settings import CHECKPOINT, _finished, prepared

RUN = Path("runs/run")
CALLBACKS = "lightning.pytorch.callbacks"
EVIL = f"{MODULE}.Evil"
FOREIGN = {
    "a callback": {"callbacks": [{"class_path": EVIL}]},
    "a callback by name alone": {"callbacks": [EVIL]},
    "the only callback": {"callbacks": EVIL},
    "the only callback, as a class": {"callbacks": {"class_path": EVIL}},
    "a logger": {"logger": EVIL},
    "a logger as a class": {"logger": {"class_path": EVIL}},
    "a logger that sends": {"logger": {"class_path": "lightning.pytorch.loggers.WandbLogger"}},
    "a plugin": {"plugins": [EVIL]},
    "a profiler": {"profiler": EVIL},
    "a strategy": {"strategy": EVIL},
    "an accelerator": {"accelerator": EVIL},
    "a function": {"callbacks": [{"class_path": f"{CALLBACKS}.LambdaCallback", "init_args": {"on_test_start": EVIL}}]},
    "a short name": {"callbacks": [{"class_path": "LambdaCallback", "init_args": {"on_test_start": EVIL}}]},
    "a function of a profiler": {
        "profiler": {
            "class_path": "lightning.pytorch.profilers.PyTorchProfiler",
            "init_args": {"on_trace_ready": f"{MODULE}.call"},
        }
    },
    "a setting of a callback": {
        "callbacks": [{"class_path": f"{CALLBACKS}.EarlyStopping", "init_args": {"monitor": {"class_path": EVIL}}}]
    },
    "a further file": {"callbacks": "more.yaml"},
    "a further file in a list": {"callbacks": ["more.yaml"]},
    "a further file as a profiler": {"profiler": "more.yaml"},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of a stranger, in a folder where Python finds their module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_files(Path(), _finished())
    write_module(tmp_path)
    Path("more.yaml").write_text(f"class_path: {EVIL}\n")
    yield RUN
    sys.modules.pop(MODULE, None)


def change(run: Path, **trainer: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"] |= trainer
    (run / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("says", FOREIGN)
def test_code_of_others_is_not_imported_by_the_configuration_beside_a_checkpoint(run, capfd, says):
    change(run, **FOREIGN[says])
    assert main(["test", f"--ckpt_path={CHECKPOINT}"]) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("gdino: runs/run/config.yaml: names '")
    assert line.endswith("if you trust it: --config runs/run/config.yaml")
    assert not was_run()
    assert MODULE not in sys.modules


@pytest.mark.parametrize("verb", ["fit", "validate", "predict"])
def test_no_verb_imports_it(run, capfd, verb):
    change(run, callbacks=[EVIL])
    assert main([verb, f"--ckpt_path={CHECKPOINT}"]) == 2
    assert "names 'canary_module.Evil'" in capfd.readouterr().err
    assert not was_run()


def test_what_the_user_gives_as_a_configuration_is_the_users_own(run):
    change(run, callbacks=[{"class_path": EVIL}])
    assert main(["test", f"--ckpt_path={CHECKPOINT}", "--config=runs/run/config.yaml"]) == 0
    assert was_run()  # so the tests above would have found it


def test_other_readers_of_a_run_take_plain_values_from_it(run, capfd):
    change(run, callbacks=[EVIL], logger=EVIL, strategy=EVIL)
    assert main(["export", f"--weights={CHECKPOINT}", "--format=hf", "--output=folder"]) == 0
    main(["select", "--run=runs/run"])
    assert "Traceback" not in capfd.readouterr().err
    assert not was_run()


def test_the_configurations_of_this_project_are_trusted():
    folder = Path(__file__).parents[2] / "configs"
    found = [path for path in folder.glob("*.yaml") if "callbacks" in path.read_text()]
    assert found
    for path in found:
        check_run_config(path)


@pytest.mark.parametrize("text", ["", "model: 1\ndata: {}\ntrainer: {}", "- a", "a: &a [*a]"])
def test_what_is_no_configuration_of_a_run_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        read_run_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "key", ["_instantiator", "_class_path", "class_path", "init_args", "__import__('os').system('touch x')", "weights"]
)
@pytest.mark.parametrize("verb", ["test", "fit"])
def test_hyper_parameters_are_values(run, capfd, key, verb):
    checkpoint = torch.load(CHECKPOINT, weights_only=True)
    checkpoint["hyper_parameters"][key] = EVIL
    torch.save(checkpoint, run / "checkpoints" / "bad.ckpt")
    main([verb, f"--ckpt_path={run}/checkpoints/bad.ckpt"])
    assert "Traceback" not in capfd.readouterr().err
    assert not was_run()
    assert MODULE not in sys.modules


@pytest.mark.parametrize("key", ["_instantiator", "_class_path"])
def test_hyper_parameters_of_an_epoch_that_is_selected_are_values(run, capfd, key):
    checkpoint = torch.load(CHECKPOINT, weights_only=True)
    checkpoint["hyper_parameters"][key] = EVIL
    torch.save(checkpoint, run / "checkpoints" / "epoch-00.ckpt")
    assert main(["select", "--run=runs/run"]) == (2 if key == "_instantiator" else 0)
    assert "Traceback" not in capfd.readouterr().err
    assert not was_run()


TAGS = (
    f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{CANARY}]]",
    f"!!python/object/new:{EVIL} []",
    f"!!python/name:{EVIL}",
    f"!!python/module:{MODULE}",
)
READERS = {
    "fit --config": ("fit", "--config=bad.yaml", "--model.phrases=[cat]"),
    "fit --model.phrases": (*FIT, "--model.phrases={}"),
    "fit --trainer.profiler": (*FIT, "--trainer.profiler={}"),
    "test --ckpt_path": ("test", f"--ckpt_path={CHECKPOINT}"),
    "select": ("select", "--run=runs/run"),
    "export": ("export", f"--weights={CHECKPOINT}", "--format=hf", "--output=folder"),
    "phrases --candidates": ("phrases", "--candidates=bad.yaml", "--config=good.yaml"),
    "phrases --config": ("phrases", "--candidates=good.yaml", "--config=bad.yaml"),
    "detect --phrases": (
        "detect",
        "--weights=nano-random",
        "--source=out/test/images",
        "--phrases=bad.yaml",
        "--output=x",
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_tags_of_yaml_make_no_objects(run, capfd, reader):
    Path("good.yaml").write_text("model: {phrases: [cat]}\n")
    for tag in TAGS:
        Path("bad.yaml").write_text(f"model: {tag}\n")
        (run / "config.yaml").write_text(f"model: {tag}\ndata: {{root: out}}\ntrainer: {{}}\n")
        assert main([part.format(tag) if "{}" in part else part for part in READERS[reader]]) == 2
        assert "Traceback" not in capfd.readouterr().err
        assert not was_run()
        assert MODULE not in sys.modules


def test_variables_of_the_environment_are_not_put_in(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "s3cret")
    prepared()
    for text in ("${SECRET}", "${oc.env:SECRET}", "$SECRET", "{{ SECRET }}"):
        assert main([*FIT, f"--model.weights={text}"]) == 2
        printed = capfd.readouterr().err
        assert text in printed
        assert "s3cret" not in printed
