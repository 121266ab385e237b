"""Writes this project's tables: `<split>/annotations.csv`, `<split>/captions.jsonl`, pictures in `<split>/images/`."""

from collections.abc import Mapping

from gdino_lightning.data.arrange import Splits
from gdino_lightning.data.caption_lines import write_captions
from gdino_lightning.data.table import CAPTIONS_NAME, IMAGES_FOLDER, TABLE_NAME, write_table
from gdino_lightning.data.writers.base import Writer


def _write(splits: Splits, classes: list[str]) -> Mapping[str, bytes]:
    del classes  # the tables name them
    files: dict[str, bytes] = {}
    for split, pictures in splits.items():
        files[f"{split}/{TABLE_NAME}"] = write_table(row for item in pictures for row in item.rows)
        captions = [(item.picture.name, caption) for item in pictures for caption in item.captions]
        if captions:
            files[f"{split}/{CAPTIONS_NAME}"] = write_captions(captions)
    return files


TABLES = Writer(folder_of=lambda split: f"{split}/{IMAGES_FOLDER}", write=_write, keeps_captions=True)
