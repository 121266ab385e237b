"""What a resumed run is told to do otherwise than before."""

from collections.abc import Iterator, Mapping
from typing import Any

# where something is, or what the command line adds on its own when it resumes
_NO_SETTINGS = ("run", "config", "ckpt_path", "weights_only", "model.weights", "trainer.default_root_dir")


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ between two configurations of plain values: `data.batch_size 4 -> 2`."""
    old, new = dict(_flat(before)), dict(_flat(now))
    names = [name for name in dict.fromkeys((*old, *new)) if not name.startswith(_NO_SETTINGS)]
    return [f"{name} {_shown(old, name)} -> {_shown(new, name)}" for name in names if old.get(name) != new.get(name)]


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Name every value that holds no others by the keys that lead to it."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not value or not isinstance(value, Mapping):
        yield name, value
        return
    for key, each in value.items():
        yield from _flat(each, f"{name}.{key}" if name else str(key))


def _shown(values: Mapping[str, object], name: str) -> str:
    return repr(values[name]) if name in values else "not set"
