"""`gdino fit --help`: our own keys with their defaults, read from the signatures and docstrings they document."""

import inspect
import re
import textwrap
from typing import Any

from lightning.pytorch import LightningDataModule

from gdino_lightning.cli import PRETRAIN
from gdino_lightning.training.callbacks.reference import Reference
from gdino_lightning.training.module import GroundingDinoModule

_HEAD = """usage: gdino {verb} --config FILE [--key value ...]

Keys of the YAML file and flags of the command line are the same; flags win.

  --config FILE          a configuration, for example configs/{config}.yaml
  --ckpt_path PATH       a checkpoint of a run, a run folder, `best` or `last` (of the newest run); brings classes,
                         prompt, model and data settings with it; `fit` resumes there
  --run FOLDER           folder of a new run (default runs/run)
  --seed_everything N    seed of all random numbers (default 0)
  --print_config         print the complete configuration and stop
  --help_all             every key, those of Lightning's Trainer too
"""


_REFERENCE = """\
A second dataset: what the model knows of it, zero-shot, before the first step, with every validation and on
`test` ({val,test}/reference/map and map_50). Null: none."""

_PROTOCOL = """\
  --protocol NAME (default None)
      Numbers of a benchmark besides: coco, lvis, d3; refcoco for the phrases of the test split's captions; odinw tests
      every prepared folder in --data.root and prints the average.
  --annotations FILE (default None)
      With `--protocol`: the benchmark's own JSON of the split, with its crowds, areas, and what was looked for where.
"""


def key_table(verb: str, datamodule: type[LightningDataModule]) -> str:
    """Return the help of one of Lightning's verbs.

    Args:
        verb: `fit`, `validate`, `test`, `predict` or `pretrain`.
        datamodule: Where its data comes from.
    """
    sections = [
        _section("model", GroundingDinoModule),
        _section("data", datamodule),
        f"  --reference (default None)\n{textwrap.indent(_REFERENCE, ' ' * 6)}",
        _section("reference", Reference),
    ]
    if verb == "test":
        sections.insert(0, _PROTOCOL)
    trainer = "  --trainer.max_epochs N, --trainer.accelerator, --trainer.devices, --trainer.precision, ...: --help_all"
    return "\n".join(
        [_HEAD.format(verb=verb, config="pretrain_nano" if verb == PRETRAIN else "sample"), *sections, trainer]
    )


def _section(prefix: str, owner: type[Any]) -> str:
    described = dict(_described_arguments(inspect.getdoc(owner) or ""))
    lines = []
    for name, parameter in inspect.signature(owner.__init__).parameters.items():
        if name == "self" or (prefix, name) == ("data", "phrases"):  # linked from the model, cannot be given
            continue
        default = "required" if parameter.default is inspect.Parameter.empty else f"default {parameter.default}"
        lines.append(f"  --{prefix}.{name} ({default})")
        lines.append(textwrap.indent(textwrap.fill(described[name], 96), " " * 6))
    return "\n".join([*lines, ""])


def _described_arguments(docstring: str) -> list[tuple[str, str]]:
    """Split the `Args:` section of a docstring, or `Attributes:` of a dataclass, into names and texts."""
    section = re.search(r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    entries = re.findall(
        r"^    (\w+): (.*?)(?=^    \w|\Z)", section.group(1) if section else "", re.MULTILINE | re.DOTALL
    )
    return [(name, " ".join(text.split())) for name, text in entries]
