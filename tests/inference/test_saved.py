import json

import pytest
import torch
from transformers import GroundingDinoImageProcessorPil

from gdino_lightning.errors import CheckpointError
from gdino_lightning.inference.saved import saved_evaluation
from gdino_lightning.model.folder import EvaluationSettings


def test_the_miniature_gets_small_pictures_and_the_unknown_the_published_size(tmp_path):
    for name in ("nano", "nano-random"):
        assert saved_evaluation(name).short_side == 192
    assert saved_evaluation(tmp_path) == EvaluationSettings(800, 1333, 64)
    assert saved_evaluation(tmp_path / "groundingdino_swint_ogc.pth") == EvaluationSettings()


def test_a_folder_of_transformers_says_it_in_its_processor(tmp_path):
    size = {"shortest_edge": 480, "longest_edge": 640}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(tmp_path)
    assert saved_evaluation(tmp_path) == EvaluationSettings(short_side=480, long_side_max=640)


@pytest.mark.parametrize("text", ["{", "[]", '{"size": {"height": 3}}'])
def test_a_processor_without_edges_means_the_published_size(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    assert saved_evaluation(tmp_path) == EvaluationSettings()


def test_a_processor_with_impossible_edges_is_refused_by_name(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 9, "longest_edge": 5}}))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: .*long_side_max 5"):
        saved_evaluation(tmp_path)


def test_a_checkpoint_has_the_settings_of_its_run(tmp_path):
    model = {"top_k": 77, "token_score": "max", "prompt_tokens": 50, "learning_rate": 1e-3}
    data = {"short_side": 96, "long_side_max": 128, "canvas_multiple": 32, "batch_size": 9}
    run = {"gdino": {}, "state_dict": {}, "hyper_parameters": model, "datamodule_hyper_parameters": data}
    (tmp_path / "checkpoints").mkdir()
    torch.save(run, tmp_path / "checkpoints" / "best.ckpt")
    expected = EvaluationSettings(96, 128, 32, 77, "max", 50)
    assert saved_evaluation(tmp_path) == saved_evaluation(tmp_path / "checkpoints" / "best.ckpt") == expected
