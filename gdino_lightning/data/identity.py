"""What a run was trained on, in a few plain values: checkpoints keep them, so that a resumed run notices other data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gdino_lightning.data.grounding import GroundedPicture
from gdino_lightning.data.pictures import Picture
from gdino_lightning.errors import DatasetError


def identity_of(pictures: Sequence[Picture], captions: Sequence[GroundedPicture]) -> dict[str, Any]:
    """Describe what is trained on: how much it is, and a digest of its names, sizes, labels, boxes and texts, in order.

    Of the pictures' contents only the number of bytes counts: to read them all would take longer than to resume.
    """
    digest = hashlib.sha256()
    trained: list[Picture | GroundedPicture] = [*pictures, *captions]
    for each in trained:
        caption = (each.caption.text, each.caption.spans) if isinstance(each, GroundedPicture) else None
        facts = [each.name, each.path.stat().st_size, each.width, each.height, each.labels, caption]
        digest.update(json.dumps([*facts, each.boxes_px.tolist()]).encode())
    return {
        "pictures": len(pictures),
        "captions": len(captions),
        "boxes": sum(len(each.labels) for each in trained),
        "sha256": digest.hexdigest(),
    }


def check_same_data(saved: Mapping[str, Any], now: Mapping[str, Any], root: object) -> None:
    """Refuse to go on with other data than a checkpoint was trained on.

    Args:
        saved: What `identity_of` said when the checkpoint was written.
        now: What it says today.
        root: Folder of the data, for the message.

    Raises:
        DatasetError: They differ.
    """
    if saved == now:
        return
    then, today = _counted(saved), _counted(now)
    differ = f"then {then}, now {today}" if then != today else f"{then}, but other names, sizes, labels, boxes or texts"
    raise DatasetError(
        f"{root}: not the data that the checkpoint was trained on ({differ}); give it that data back, start a new run "
        "with --model.weights, or go on all the same with --data.accept_changes=true"
    )


def _counted(identity: Mapping[str, Any]) -> str:
    captions = f", {identity['captions']} captions" if identity.get("captions") else ""
    return f"{identity.get('pictures')} pictures{captions}, {identity.get('boxes')} boxes"
