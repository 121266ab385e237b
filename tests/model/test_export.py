"""Exported folders, opened in plain transformers: its Auto classes and its pipeline are the oracle."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pictures import pictures, relative_error
from PIL import Image
from tokenizers import Tokenizer
from transformers import (
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    AutoTokenizer,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    pipeline,
)
from transformers.models.grounding_dino.modeling_grounding_dino import (
    SPECIAL_TOKENS,
    generate_masks_with_special_tokens_and_transfer_map,
)

from gdino_lightning.data.canvas import normalise_on_canvas
from gdino_lightning.errors import CheckpointError
from gdino_lightning.model import export
from gdino_lightning.model.card import CardFacts
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.export import differing_phrases, export_hf
from gdino_lightning.model.folder import EvaluationSettings, read_prompt
from gdino_lightning.model.nano import nano_config, random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained, load_pretrained
from gdino_lightning.prompt import build_prompt

PHRASES = {"with": "with mask", "without": "no mask", "bird": "red bird"}
THRESHOLDS = {"scores": [0.21, 0.32, 0.43], "nms_ious": [0.5, 0.6, 0.7], "temperature": 1.25}
SMALL = EvaluationSettings(short_side=192, long_side_max=256, canvas_multiple=32)
FACTS = CardFacts(
    base="IDEA-Research/grounding-dino-tiny",
    data="600 drawn pictures of faces",
    metrics={"test/map": 0.51237, "over/boxes_per_object": 1.0829},
    scored_on="the test split of data/sample",
    evaluation=SMALL,
)


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """Every weight off its initial value: no path is silent and no two heads are equal."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).uniform_(-0.03, 0.03))
    return model.eval()


def mm_nano() -> MMGroundingDinoForObjectDetection:
    plain = {k: v for k, v in nano_config().to_dict().items() if k not in ("model_type", "architectures")}
    heads = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
    return MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**{**plain, **heads}))


def nano(phrases: dict[str, str] | None = PHRASES, **changed) -> Pretrained:
    return Pretrained(moved(random_nano(seed=1)), nano_tokenizer(), phrases, **changed)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "faces"
    export_hf(nano(thresholds=THRESHOLDS), folder, source="/somebody/runs/x/checkpoints/best.ckpt", facts=FACTS)
    return folder


@pytest.mark.parametrize("build", [lambda: random_nano(seed=1), mm_nano], ids=["Grounding DINO", "MM-Grounding-DINO"])
@torch.no_grad()
def test_the_folder_in_plain_transformers_gives_our_logits_and_boxes(tmp_path, build):
    loaded = Pretrained(moved(build()), nano_tokenizer(), PHRASES)
    assert export_hf(loaded, tmp_path / "out", source="x.ckpt") == []
    theirs = AutoModelForZeroShotObjectDetection.from_pretrained(tmp_path / "out").double()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    pixels, mask = pictures()
    pixels = pixels.double()
    words = processor(text=[list(PHRASES.values())] * 2, return_tensors="pt")
    found = theirs(pixel_values=pixels, pixel_mask=mask.long(), **words)
    prompt = build_prompt(list(PHRASES.values()), nano_tokenizer())
    ours = GroundingDetector(loaded.model.double())(pixels, mask, prompt)
    tokens = len(prompt.input_ids)
    assert relative_error(ours.final_logits, found.logits[..., :tokens]) <= 1e-5
    assert relative_error(ours.final_boxes, found.pred_boxes) <= 1e-5


def test_the_pipeline_finds_our_boxes_of_each_phrase_at_the_same_threshold(tmp_path):
    loaded = load_pretrained("nano")
    export_hf(loaded, tmp_path / "nano", source="nano", facts=CardFacts(evaluation=SMALL))
    phrases, threshold = ["a red circle", "tree", "person"], 0.05
    rgb = np.random.default_rng(0).integers(0, 60, (192, 256, 3)).astype(np.uint8)  # no resize, no padding
    rgb[40:100, 30:110] = (220, 30, 30)
    rgb[90:180, 150:200] = (30, 160, 40)
    detector = pipeline("zero-shot-object-detection", model=str(tmp_path / "nano"))
    found = detector(Image.fromarray(rgb), candidate_labels=phrases, threshold=threshold)
    pixels, mask = normalise_on_canvas(rgb, (256, 192))
    expected = []
    for phrase in phrases:
        with torch.no_grad():
            ours = GroundingDetector(loaded.model.eval())(
                pixels[None], mask[None], build_prompt([phrase], loaded.tokenizer)
            )
        best = ours.final_logits[0].sigmoid().amax(-1)  # over all tokens, as transformers has it
        for score, (cx, cy, w, h) in zip(best.tolist(), ours.final_boxes[0].tolist(), strict=True):
            if score > threshold:
                corners = ((cx - w / 2) * 256, (cy - h / 2) * 192, (cx + w / 2) * 256, (cy + h / 2) * 192)
                expected.append((score, phrase, corners))
    expected.sort(key=lambda each: -each[0])
    assert len(found) == len(expected) > 3
    assert len({phrase for _, phrase, _ in expected}) == len(phrases)
    for theirs, (score, phrase, corners) in zip(found, expected, strict=True):
        assert theirs["score"] == pytest.approx(score, abs=1e-5)
        assert theirs["label"] == phrase
        box = [theirs["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]  # cut to whole px there
        assert all(abs(cut - math.trunc(value)) <= 1 for cut, value in zip(box, corners, strict=True))


@pytest.mark.parametrize(
    "text", ["cat", "cat.", "cat .", " cat  ", "a cat. a red dog", "a cat. a red dog.", "who?", "wow!", "猫。", ""]
)
def test_a_text_is_read_as_with_a_final_stop_and_is_else_unchanged(exported, text):
    usual = nano_tokenizer()
    stopped = text if not text.strip() or text.strip()[-1] in ".?" else f"{text} ."
    assert AutoTokenizer.from_pretrained(exported)(text).input_ids == usual.encode(stopped).ids


def test_the_tokenizer_of_a_folder_makes_the_same_prompts(exported):
    words = AutoTokenizer.from_pretrained(exported).backend_tokenizer
    phrases = ["with mask", "St. Bernard", "who?", "wow!", "straße"]
    assert build_prompt(phrases, words).blocks == build_prompt(phrases, nano_tokenizer()).blocks


@pytest.mark.parametrize(
    "phrase", ["cat", "St. Bernard", "who?", "3.5 mm", "wow!", "a, b; c: d", "end.", "cat。dog", "it's", "a-b/c"]
)
def test_exactly_the_phrases_that_transformers_masks_differently_are_named(phrase):
    prompt = build_prompt(["red bird", phrase], nano_tokenizer())
    mask, positions = generate_masks_with_special_tokens_and_transfer_map(
        prompt.input_ids[None], torch.tensor(SPECIAL_TOKENS)
    )
    same = torch.equal(mask[0], prompt.self_attention_mask) and torch.equal(positions[0], prompt.position_ids)
    assert list(differing_phrases(["red bird", phrase], nano_tokenizer())) == ([] if same else [phrase])


def test_phrases_that_differ_are_returned_in_the_card_and_left_out_of_its_snippets(tmp_path):
    lines = export_hf(nano({**PHRASES, "dog": "St. Bernard"}), tmp_path / "out", source="x.ckpt")
    assert len(lines) == 1
    assert "'St. Bernard' (class dog)" in lines[0]
    assert '"."' in lines[0]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| dog | St. Bernard | not calibrated | not calibrated | **differs**: " in card
    assert 'phrases = ["with mask", "no mask", "red bird"]' in card


def test_phrases_for_which_one_prompt_is_too_short_are_counted(tmp_path):
    phrases = {str(i): f"{'red ' * (i % 20)}bird {i}" for i in range(60)}
    (line,) = export_hf(nano(phrases), tmp_path / "out", source="x.ckpt")
    together = int(re.search(r"asks for the (\d+)", line).group(1))
    wordings = json.loads(re.search(r"phrases = (.*)", (tmp_path / "out" / "README.md").read_text()).group(1))
    assert len(wordings) == together < 60
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor(text=[wordings], return_tensors="pt").input_ids.shape[1] <= 256


def test_the_prompt_the_thresholds_and_the_settings_come_back(exported):
    saved = read_prompt(exported)
    assert list(saved.phrases.items()) == list(PHRASES.items())
    assert saved.thresholds == THRESHOLDS
    assert saved.evaluation == SMALL
    assert set(saved.architecture.values()) == {True}
    loaded = load_pretrained(exported)
    assert (loaded.phrases, loaded.thresholds, loaded.architecture) == (PHRASES, THRESHOLDS, saved.architecture)


def test_weights_come_back_to_the_bit(exported):
    state, back = nano().model.state_dict(), load_pretrained(exported).model.state_dict()
    assert state.keys() == back.keys()
    assert all(torch.equal(state[name], back[name]) for name in state)
    assert len({path.stat().st_mode for path in exported.iterdir()}) == 1  # who can read one can read all


def test_transformers_resizes_and_normalises_as_we_evaluate(exported):
    processor = AutoProcessor.from_pretrained(exported).image_processor
    rgb = np.random.default_rng(0).integers(0, 255, (192, 256, 3)).astype(np.uint8)
    theirs = processor(Image.fromarray(rgb), return_tensors="pt").pixel_values[0]
    assert torch.allclose(theirs, normalise_on_canvas(rgb, (256, 192))[0], atol=1e-5)
    larger = processor(Image.fromarray(rgb).resize((512, 384)), return_tensors="pt").pixel_values
    assert larger.shape == (1, 3, 192, 256)


def test_the_card_says_what_it_was_told_and_names_no_path(exported):
    card = (exported / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "apache-2.0"  # of the base
    assert front["base_model"] == "IDEA-Research/grounding-dino-tiny"
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "zero-shot-object-detection")
    (result,) = front["model-index"][0]["results"]
    assert front["model-index"][0]["name"] == "faces"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "test/map": 0.5124,
        "over/boxes_per_object": 1.0829,
    }
    for text in (
        "| test/map | 0.5124 |",
        "600 drawn pictures of faces",
        "the test split of data/sample",
        "| 0.320 | 0.60 |",
    ):
        assert text in card
    for path in exported.iterdir():
        assert b"somebody" not in path.read_bytes()
        assert str(exported.parent).encode() not in path.read_bytes()


def test_what_is_not_known_is_not_claimed(tmp_path):
    export_hf(nano(None), tmp_path / "out", source="runs/x/best.ckpt", facts=CardFacts(base="/somebody/w.ckpt"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.split("---\n")[1].find("license") == card.split("---\n")[1].find("base_model") == -1
    assert "Weights: not stated." in card
    assert card.count("Not stated.") == 2  # data, metrics
    assert "somebody" not in card


def test_the_snippets_of_the_card_run(exported, tmp_path, monkeypatch, capsys):
    snippets = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 3
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, data in contents(exported).items():
        (folder / name).write_bytes(data)
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(folder / "picture.jpg")
    monkeypatch.chdir(folder)
    for snippet in snippets:
        exec(compile(snippet, "card", "exec"), {})
    assert capsys.readouterr().out  # the second and third print what they found, or that it is nothing


def test_exporting_again_changes_no_byte_and_an_export_of_the_export_says_the_same(exported, tmp_path):
    before = contents(exported)
    export_hf(nano(thresholds=THRESHOLDS), exported, source="/somebody/runs/x/checkpoints/best.ckpt", facts=FACTS)
    assert contents(exported) == before
    export_hf(load_pretrained(exported), tmp_path / "faces", source=str(exported))
    after = contents(tmp_path / "faces")
    assert after.keys() == before.keys()
    for name in ("model.safetensors", "preprocessor_config.json", "tokenizer_config.json", "gdino.json"):
        assert after[name] == before[name]
    stops = [json.loads(files["tokenizer.json"])["normalizer"] for files in (before, after)]
    assert stops[0] == stops[1]  # added once


def test_an_older_export_is_replaced_whole_and_stays_where_the_new_one_fails(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    export_hf(nano(), folder, source="x.ckpt")
    before = contents(folder)
    export_hf(nano({"cup": "red cup"}), folder, source="x.ckpt")
    assert read_prompt(folder).phrases == {"cup": "red cup"}
    after = contents(folder)
    assert after.keys() == before.keys()

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_card", fail)
    with pytest.raises(KeyboardInterrupt):
        export_hf(nano(), folder, source="x.ckpt")
    assert contents(folder) == after
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["notes.txt", ".git", "config.json"])
def test_a_folder_with_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=re.escape(name) if name != "config.json" else "without gdino.json"):
        export_hf(nano(), tmp_path, source="x.ckpt")
    assert contents(tmp_path) == {name: b"mine"}


def test_an_empty_folder_is_filled_and_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"):
        export_hf(nano(), tmp_path / "file", source="x.ckpt")
    (tmp_path / "empty").mkdir()
    export_hf(nano(), tmp_path / "empty", source="x.ckpt")
    assert read_prompt(tmp_path / "empty") is not None


@pytest.mark.parametrize("switch", ["fusion", "text_guided_queries", "text_cross_attention", "sub_sentence"])
def test_weights_trained_without_a_part_are_refused(tmp_path, switch):
    architecture = {**read_all_on(), switch: False}
    with pytest.raises(CheckpointError, match=f"x.ckpt: was trained without {switch}"):
        export_hf(nano(architecture=architecture), tmp_path / "out", source="x.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_with_other_ids_is_refused(tmp_path):
    words = json.loads(nano_tokenizer().to_str())
    vocabulary = words["model"]["vocab"]
    vocabulary["."], vocabulary["!"] = vocabulary["!"], vocabulary["."]
    loaded = replace(nano(), tokenizer=Tokenizer.from_str(json.dumps(words)))
    with pytest.raises(CheckpointError, match=r"other ids than bert-base-uncased for \."):
        export_hf(loaded, tmp_path / "out", source="x.ckpt")


def read_all_on() -> dict[str, bool]:
    return dict.fromkeys(("fusion", "text_guided_queries", "text_cross_attention", "sub_sentence"), True)
