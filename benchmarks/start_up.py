"""How long `gdino detect` takes from a cold start, beside a bare script that does the same forward, and `gdino --help`.

```
python -m benchmarks.start_up
```

The bare script imports torch, cv2 and the model class of transformers, loads the miniature from a folder that
`gdino export` wrote, and runs it on the same canvas with token ids that it is given. All take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from benchmarks._command import exit_code, positive
from benchmarks._runs import RunError
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.model.export import export_hf
from gdino_lightning.model.pretrained import load_pretrained
from gdino_lightning.prompt import build_prompt

PHRASES = ("hat", "cat", "letter g")
PROGRAM = (sys.executable, "-m", "gdino_lightning")
SIDE = 640  # px of the picture's long side
BARE = """
import json, sys
import cv2, torch
from transformers import GroundingDinoForObjectDetection
folder, path, width, height, ids = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), json.loads(sys.argv[5])
model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
rgb = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
pixels = torch.from_numpy(cv2.resize(rgb, (width, height))).permute(2, 0, 1)[None].float() / 127.5 - 1
ids = torch.tensor([ids])
with torch.inference_mode():
    outputs = model(pixels, input_ids=ids, attention_mask=torch.ones_like(ids))
print(int((outputs.logits.sigmoid().amax(-1) > 0.35).sum()), "boxes")
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Time both, print the table and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_up", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=positive, default=7, help="of each, after one that is not counted (7)")
    options = parser.parse_args(argv)
    return exit_code("start_up", lambda: _work(options.repeats))


def _work(repeats: int) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    with TemporaryDirectory() as folder:
        bare, detect = _commands(Path(folder))
        # a folder of its own each time, or nothing would be left to do
        outputs = [f"--output={folder}/out-{number}" for number in range(repeats + 1)]
        rounds = [(_seconds(bare), _seconds([*detect, output]), _seconds([*PROGRAM, "--help"])) for output in outputs]
    times = [statistics.median(each) for each in zip(*rounds[1:], strict=True)]
    apart = [ours - theirs for theirs, ours, _ in rounds[1:]]
    print(f"| from a cold start, {SIDE} px, nano, median of {repeats} | seconds |\n|---|---|")
    for name, seconds in zip(("bare script", "gdino detect", "gdino --help"), times, strict=True):
        print(f"| {name} | {seconds:.2f} |")
    spread = f"{min(apart):.2f} to {max(apart):.2f}"
    print(f"| detect less bare script, paired (least to most) | {statistics.median(apart):.2f} ({spread}) |")


def _seconds(command: Sequence[str]) -> float:
    """Run a command and return its wall time.

    Raises:
        RunError: It failed.
    """
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RunError(f"{command[1]} {command[2]}: {done.stderr.strip()}", done.returncode)
    return time.perf_counter() - start


def _commands(folder: Path) -> tuple[list[str], list[str]]:
    """Make weights and a picture; return the command of the bare script, and that of `detect` without its output."""
    loaded = load_pretrained("nano")
    export_hf(loaded, folder / "nano", source="nano")
    draw_sample(folder / "drawn", num_images=1, subject="world", progress=False)
    (drawn,) = (folder / "drawn" / "images").iterdir()
    image = cv2.imread(str(drawn))
    size = (SIDE, round(image.shape[0] * SIDE / image.shape[1]))
    picture = str(folder / "picture.png")
    cv2.imwrite(picture, cv2.resize(image, size))
    width, height = Predictor.from_pretrained("nano", device="cpu").sizing.canvas(*size)
    ids = json.dumps(build_prompt(list(PHRASES), loaded.tokenizer).input_ids.tolist())
    bare = [sys.executable, "-c", BARE, str(folder / "nano"), picture, str(width), str(height), ids]
    words = ["--weights=nano", "--device=cpu", f"--source={picture}", f"--phrases={' . '.join(PHRASES)}"]
    return bare, [*PROGRAM, "detect", *words]


if __name__ == "__main__":
    raise SystemExit(main())
