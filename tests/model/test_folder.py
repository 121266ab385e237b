import json

import pytest

from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.model.folder import EvaluationSettings, SavedPrompt, read_prompt, write_prompt

ALL_ON = {"fusion": True, "text_guided_queries": True, "text_cross_attention": True, "sub_sentence": True}
SAVED = SavedPrompt(
    {"b": "red cup", "a": "Tasse für Tee"},
    {"scores": [0.2, 0.3], "nms_ious": [0.5, 0.6], "temperature": 1.5, "beside": {"kept": [1, None]}},
    ALL_ON,
    EvaluationSettings(480, 640, 32, 100, "max", 128),
)


def test_what_is_written_comes_back_in_its_order(tmp_path):
    write_prompt(tmp_path, SAVED)
    back = read_prompt(tmp_path)
    assert back == SAVED
    assert list(back.phrases) == ["b", "a"]


def test_weights_without_classes_have_neither_phrases_nor_thresholds(tmp_path):
    saved = SavedPrompt(None, None, ALL_ON, EvaluationSettings())
    write_prompt(tmp_path, saved)
    assert read_prompt(tmp_path) == saved


def test_a_folder_of_the_hub_has_none(tmp_path):
    assert read_prompt(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plain: plain.update(format=99), "format 99"),
        (lambda plain: plain.pop("format"), "damaged"),
        (lambda plain: plain.update(phrases=["red cup"]), "damaged"),
        (lambda plain: plain.update(phrases={"b": 1}), "damaged"),
        (lambda plain: plain["thresholds"].update(scores=[0.2]), "scores: expected 2 numbers"),
        (lambda plain: plain["thresholds"].update(nms_ious=["a", "b"]), "nms_ious: expected 2 numbers"),
        (lambda plain: plain["thresholds"].pop("temperature"), "damaged"),
        (lambda plain: plain["architecture"].pop("fusion"), "damaged"),
        (lambda plain: plain["evaluation"].update(short_side=0), "short_side 0"),
        (lambda plain: plain["evaluation"].update(token_score="sum"), "token_score 'sum'"),
        (lambda plain: plain["evaluation"].update(colour="red"), "damaged"),
    ],
)
def test_damage_is_named_with_the_file(tmp_path, change, says):
    write_prompt(tmp_path, SAVED)
    plain = json.loads((tmp_path / "gdino.json").read_text())
    change(plain)
    (tmp_path / "gdino.json").write_text(json.dumps(plain))
    with pytest.raises(CheckpointError, match=says) as caught:
        read_prompt(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "gdino.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "\x00"])
def test_what_is_no_such_file_is_damaged(tmp_path, text):
    (tmp_path / "gdino.json").write_text(text)
    with pytest.raises(CheckpointError, match="damaged"):
        read_prompt(tmp_path)


@pytest.mark.parametrize("wrong", [{"short_side": 0}, {"long_side_max": 1}, {"top_k": 0}, {"prompt_tokens": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        EvaluationSettings(**wrong)
