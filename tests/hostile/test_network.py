"""No verb turns to another machine unasked, or writes anywhere but where it was told."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from verb_runs import fit_arguments
from voc_factory import png, write_files

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
SUPPORT = REPOSITORY / "tests" / "support"
PRETRAIN_CONFIG = REPOSITORY / "configs" / "pretrain_nano.yaml"
PICTURE = "source/images/maksssksksss0.png"
VERBS = [
    ["sample", "--root=source", "--num_images=12"],
    ["prepare", "--source=source", "--root=data", "--num_train=8"],
    ["inspect", "--root=data", "--output=looked"],
    [*fit_arguments(Path("data")), "--trainer.max_epochs=1", "--data.num_workers=1"],
    ["validate", "--ckpt_path=best"],
    ["test", "--ckpt_path=best"],
    ["select", "--run=runs/latest"],
    ["compare", "runs/sample", "runs/sample"],
    ["predict", "--ckpt_path=best"],
    ["phrases", "--candidates=candidates.yaml", "--config=runs/sample/config.yaml"],
    ["detect", "--weights=runs/latest", "--source=data/test/images", "--output=found"],
    ["edit", "--weights=nano", f"--source={PICTURE}", "--phrase=face", "--output=edited/a.png", "--box_threshold=0.01"],
    ["export", "--weights=runs/latest", "--format=hf", "--output=folder"],
    ["world", "--weights=nano", "--num_images=2"],
    ["pretrain", f"--config={PRETRAIN_CONFIG}", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"],
]
WRITTEN = {"source", "data", "looked", "runs", "candidates-chosen.yaml", "found", "edited", "folder"}
GIVEN = {"a.png", "candidates.yaml", "done.json"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
# what a machine may have set so that libraries stay silent, some of them wherever CI is set: nothing may depend on it
SWITCHES = ("OFFLINE", "TELEMETRY", "ANALYTICS", "DO_NOT_TRACK", "ALBUMENTATIONS", "CI", "GITHUB_ACTIONS")
RUN = """
from gdino_lightning.cli import main
codes = [main(verb) for verb in {verbs!r}]
"""
# makes a graph, answers by it, and waits: onnxruntime tells of it some seconds later
GRAPH = """
import time
import gdino_lightning, numpy, onnxruntime
from onnx import TensorProto, helper
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString())
codes = [int(value) for value in session.run(None, {"x": numpy.zeros(1, numpy.float32)})[0]]
time.sleep(20)
"""
# what follows: the kernel counts what found no way out of the network that the process is in
COUNT = """
import json
from pathlib import Path
names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines()[:2])
Path("done.json").write_text(json.dumps([codes, int(dict(zip(names, values))["OutNoRoutes"])]))
"""


class Watched(NamedTuple):
    """What a process and those it started did.

    Attributes:
        codes: What was noted: the exit code of each verb.
        errors: What was printed on standard error.
        dialled: The machines that Python connected to or looked up.
        packets: What any code sent, where the system gives the process a network of its own.
        changed: Paths on the disk.
    """

    codes: list[int]
    errors: str
    dialled: set[str]
    packets: int | None
    changed: set[Path]


@pytest.fixture
def temporary():
    """A temporary folder of so short a name that the sockets of worker processes fit below it."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def watch(folder: Path, temporary: Path, code: str, env: dict[str, str]) -> Watched:
    """Run Python in `folder`/work, with a home and a temporary folder of its own."""
    for name in ("work", "notes", "home"):
        (folder / name).mkdir()
    write_files(folder / "work", {"candidates.yaml": b"with_mask: [with mask, a face]\n", "a.png": png()})
    kept = {key: value for key, value in os.environ.items() if not any(switch in key for switch in SWITCHES)}
    places = {"HOME": folder / "home", "TMPDIR": temporary, "AUDIT_FOLDER": folder / "notes"}
    paths = os.pathsep.join(map(str, (REPOSITORY, SUPPORT, SUPPORT / "audit")))
    alone = _without_a_network()
    done = subprocess.run(
        [*alone, sys.executable, "-c", code + COUNT],
        cwd=folder / "work",
        env={**kept, **{key: str(place) for key, place in places.items()}, "PYTHONPATH": paths, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    codes, packets = json.loads((folder / "work" / "done.json").read_text())
    lines = [line.split(" ", 1) for file in (folder / "notes").iterdir() for line in file.read_text().splitlines()]
    return Watched(
        codes,
        done.stderr,
        {what for event, what in lines if event == "dialled"},
        packets if alone else None,
        {Path(what) for event, what in lines if event != "dialled"},
    )


def _without_a_network() -> list[str]:
    """A command that gives a process an empty network of its own, where the system has one and allows it."""
    command = ["unshare", "--user", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*command, "true"], check=False).returncode == 0
    return command if allowed else []


def belongs_to_a_library(path: Path) -> bool:
    """Whether matplotlib or torch keeps something for later there."""
    return path.name in (".cache", ".config") or any(name in str(path) for name in ("matplotlib", "torchinductor"))


@pytest.mark.parametrize("env", [{}, OFFLINE], ids=["", "OFFLINE"])
def test_every_verb_works_without_a_network_and_writes_where_it_was_told(tmp_path, temporary, env):
    done = watch(tmp_path, temporary, RUN.format(verbs=VERBS), env)
    assert done.codes == [0] * len(VERBS), done.errors[-3000:]
    assert not done.dialled
    assert not done.packets
    work = tmp_path / "work"
    assert {path.name for path in work.iterdir()} - GIVEN == WRITTEN
    others = {path for path in done.changed if not path.is_relative_to(work) and not path.is_relative_to(temporary)}
    others -= {Path("/dev/null"), SUPPORT / "audit" / "sitecustomize.py"}  # the latter by its own note
    assert not {path for path in others if not belongs_to_a_library(path)}
    assert not list(temporary.iterdir())


def test_graphs_of_onnx_tell_nobody_that_they_are_run(tmp_path, temporary):
    done = watch(tmp_path, temporary, GRAPH, {})
    assert done.codes == [0]
    assert not done.dialled
    assert not done.packets
    assert not list(temporary.iterdir())


NAMED = {
    "detect": ["detect", "--weights=nobody/nothing", "--source=a.png", "--phrases=cat"],
    "edit": [
        *("edit", "--weights=nano", "--source=a.png", "--phrase=cat", "--output=b.png"),
        *("--box_threshold=0", "--text_threshold=0"),
        *("--backend=diffusers", "--inpaint_weights=nobody/nothing"),
    ],
}


@pytest.mark.parametrize("verb", NAMED)
@pytest.mark.parametrize("env", [{}, OFFLINE], ids=["", "OFFLINE"])
def test_the_hub_alone_is_asked_for_what_it_is_named_for_and_not_where_that_is_forbidden(
    tmp_path, temporary, verb, env
):
    done = watch(tmp_path, temporary, RUN.format(verbs=[NAMED[verb]]), env)
    assert done.codes == [2], done.errors[-3000:]
    assert done.errors.splitlines()[-1].startswith("gdino: nobody/nothing: ")
    assert done.dialled == (set() if env else {"huggingface.co"})
    assert done.packets is None or (done.packets > 0) == (env == {})
