"""What runs and exports leave on the disk: any bytes there are read or refused by name."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from fuzzing import answer, file_of, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st
from safetensors.torch import save

from gdino_lightning.data.publish import _listed_files, recorded_source
from gdino_lightning.errors import CheckpointError, ConfigError, DatasetError
from gdino_lightning.evaluation.records import PictureRecord, RecordSet, load_records, save_records
from gdino_lightning.inference.journal import Journal, JournalWriter, PictureResult
from gdino_lightning.inference.saved import saved_evaluation
from gdino_lightning.model.convert.files import read_file, unwrap
from gdino_lightning.model.folder import EvaluationSettings, SavedPrompt, read_prompt, write_prompt
from gdino_lightning.model.lora import read_adapter
from gdino_lightning.training.metrics_csv import read_metrics

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.float16)}
JSON_TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"NaN",
    b"\\ud800",
    b"\xff",
    b"9" * 5000,
)
PICKLE_TOKENS = (
    b"\x80\x02",
    b"c__builtin__\neval\n",
    b"cos\nsystem\n",
    b"R.",
    b"\x85R",
    b"}q\0",
    b"data.pkl",
    b"\xff\xff\xff\xff",
)


def torch_file(legacy: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": TENSORS, "epoch": 3}, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def records_file() -> bytes:
    boxes, numbers = np.ones((2, 4), np.float32), np.arange(2)
    record = PictureRecord(0, boxes, numbers, boxes, np.ones(2, np.float32), numbers)
    path = file_of(b"", "records.npz")
    save_records(path, RecordSet(("cat", "dog"), ("a.png",), (record,)))
    return path.read_bytes()


def prompt_file() -> bytes:
    thresholds = {"scores": [0.3, 0.4], "nms_ious": [0.5, 0.5], "temperature": 1.0}
    path = file_of(b"", "gdino.json")
    switches = dict.fromkeys(("fusion", "text_guided_queries", "text_cross_attention", "sub_sentence"), True)
    write_prompt(path.parent, SavedPrompt({"a": "cat", "b": "dog"}, thresholds, switches, EvaluationSettings()))
    return path.read_bytes()


def journal_file() -> bytes:
    path = file_of(b"", "rank-0000.jsonl")
    found = PictureResult("a.png", "/a.png", None, 40, 30, 1, ((1.0, 2.0, 3.0, 4.0),), (0.5,), (0,))
    JournalWriter(path).append([found, PictureResult("b.png", "/b.png", error="no picture")])
    return path.read_bytes()


@fuzz(mutated(st.sampled_from((torch_file(legacy=False), torch_file(legacy=True))), PICKLE_TOKENS))
def test_pickled_weights(data):
    path = file_of(data, "weights.pth")
    answer(lambda: unwrap(read_file(path), path), CheckpointError, str(path))


@fuzz(st.one_of(st.binary(max_size=100), mutated(save(TENSORS, {"lora": "{}", "base": "nano"}), JSON_TOKENS)))
def test_safetensors(data):
    path = file_of(data, "weights.safetensors")
    answer(lambda: unwrap(read_file(path), path), CheckpointError, str(path))
    answer(lambda: read_adapter(path), CheckpointError, str(path))


@fuzz(mutated(records_file(), (b"PK\5\6", b"\x93NUMPY", b"'|O'", b"'<U9'", b"(99999999999,)", b"\xff\xff\xff\xff")))
def test_records_of_a_test(data):
    path = file_of(data, "records.npz")
    answer(lambda: load_records(path), CheckpointError, str(path))


@fuzz(mutated(prompt_file(), JSON_TOKENS))
@example(prompt_file().replace(b'"token_score"', b'"\\ud800token_score"'))
def test_the_description_of_an_exported_folder(data):
    path = file_of(data, "gdino.json")
    saved = answer(lambda: read_prompt(path.parent), CheckpointError, str(path))
    assert saved is None or saved.thresholds is None or len(saved.thresholds["scores"]) == len(saved.phrases)
    path.unlink()


@fuzz(mutated(b'{"size": {"shortest_edge": 800, "longest_edge": 1333}, "do_pad": true}', JSON_TOKENS))
@example(b'{"size": {"shortest_edge": ' + b"8" * 3_000 + b', "longest_edge": 1333}}')
def test_the_settings_of_a_processor(data):
    path = file_of(data, "preprocessor_config.json")
    answer(lambda: saved_evaluation(path.parent), CheckpointError, str(path))
    path.unlink()


@fuzz(
    mutated(b"epoch,step,val/map\n0,10,0.5\n1,20,\n", (b'"', b",", b"\n", b"\r", b"\0", b"\xff", b'"' + b"9" * 200_000))
)
def test_metrics(data):
    path = file_of(data, "metrics.csv")
    columns, rows = answer(lambda: read_metrics(path), CheckpointError, str(path)) or ([], [])
    assert all(set(row) <= set(columns) and all(row.values()) for row in rows)


@fuzz(mutated(json.dumps({"format": 1, "files": {"train/a.png": "00"}, "source_sha256": "00"}).encode(), JSON_TOKENS))
def test_the_manifest_of_prepare(data):
    path = file_of(data, "prepare.json")
    answer(lambda: _listed_files(path), DatasetError, str(path))
    assert isinstance(recorded_source(path.parent), str | None)


@fuzz(mutated(journal_file(), (*JSON_TOKENS, b"\n")))
@example(journal_file().replace(b'"path"', b'"\\ud800path"', 1))
@example(journal_file().replace(b'"path"', b'"' + b"9" * 9_000 + b'"', 1))
def test_the_journal_of_detect(data):
    output = file_of(b"", "output-is-beside").parent / "found"
    (output / "results").mkdir(parents=True, exist_ok=True)
    file = output / "results" / "rank-0000.jsonl"
    file.write_bytes(data)

    def read() -> list[PictureResult]:
        journal = Journal(output, {"weights": "nano"})
        return list(journal.results(["a.png", "b.png"]))

    answer(read, ConfigError, str(file))


@fuzz(mutated(b'{"weights": "nano"}', JSON_TOKENS))
def test_the_settings_of_detect(data):
    output: Path = file_of(data, "settings.json").parent
    answer(lambda: Journal(output, {"weights": "nano"}), ConfigError)
