"""Measurements in processes of their own: nothing that one leaves in memory or in caches helps or hinders the next."""

import json
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._runs import RunError


def measured(module: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run `python -m module SETTINGS` and return the JSON object that its last line is.

    Raises:
        RunError: It failed.
    """
    command = [sys.executable, "-m", module, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise RunError(f"{module} {command[-1]}: {why}", done.returncode)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mb() -> float:
    """The most memory that this process has held so far, in MB (Linux)."""
    # of /proc, since that of getrusage is inherited from the process that started this one
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1e3


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch  # here: a process that is measured without shall not hold its memory

    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.is_file() else []
    return {
        "processor": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Median:
    """A median with the least and the most that it was found among."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Median":
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def cell(self, digits: int = 2) -> str:
        """Write it as a cell of a table."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} to {self.most:,.{digits}f})"


def write_json(path: Path | None, found: Mapping[str, Any]) -> None:
    """Write figures and machine to a file; nothing without a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
