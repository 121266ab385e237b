"""The real pipelines of diffusers, with random weights of a few thousand numbers, at 64 px."""

import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import AutoPipelineForInpainting, UNet2DConditionModel
from huggingface_hub import constants
from PIL import Image

from gdino_lightning.editing import diffusion as room
from gdino_lightning.editing.diffusion import DiffusersFill, Diffusion
from gdino_lightning.editing.edit import edit
from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.inference.postprocess import Detections

FEW = Diffusion(steps=3)
BOX = np.s_[20:40, 24:48]


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    return tiny_pipelines.save_stable_diffusion(tmp_path_factory.mktemp("weights") / "stable_diffusion")


@pytest.fixture(scope="session")
def pipeline(weights) -> AutoPipelineForInpainting:
    return AutoPipelineForInpainting.from_pretrained(weights, use_safetensors=True)


def noise(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def masked(height: int = 64, width: int = 64, *places) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for place in places or (BOX,):
        mask[place] = 255
    return mask


class Recorder:
    """A pipeline that keeps what it was called with, and paints everything in one colour."""

    vae_scale_factor, default_sample_size = 8, 64

    def __init__(self, flagged: bool | None = None) -> None:
        self.calls, self._flagged = [], None if flagged is None else [flagged]

    def __call__(self, prompt, image, mask_image, height, width, strength=1.0, num_inference_steps=50, generator=None):
        self.calls.append(dict(locals()))
        return type(
            "Result", (), {"images": [Image.new("RGB", image.size, (1, 2, 3))], "nsfw_content_detected": self._flagged}
        )


def test_a_place_gets_exactly_what_the_pipeline_paints(weights, pipeline):
    """A picture of the pipeline's own size is neither cut nor scaled."""
    picture, mask = noise(), masked()
    filled = DiffusersFill.from_pretrained(weights, Diffusion(steps=3, strength=0.9, guidance=4, seed=5))(
        picture, mask, "a red scarf"
    )
    (theirs,) = pipeline(
        prompt="a red scarf",
        image=Image.fromarray(picture),
        mask_image=Image.fromarray(mask),
        height=64,
        width=64,
        strength=0.9,
        num_inference_steps=3,
        guidance_scale=4,
        generator=torch.Generator().manual_seed(5),
    ).images
    assert np.array_equal(filled[BOX], np.asarray(theirs)[BOX])
    assert np.array_equal(filled[mask == 0], picture[mask == 0])
    assert not np.array_equal(filled[BOX], picture[BOX])


@pytest.mark.parametrize(
    "save", [tiny_pipelines.save_stable_diffusion, tiny_pipelines.save_text_to_image, tiny_pipelines.save_xl]
)
def test_each_family_edits_by_prompt_and_leaves_the_rest_to_the_bit(save, tmp_path):
    picture = noise(90, 120)
    found = Detections(
        torch.tensor([[10.0, 20, 30, 40], [80, 50, 104, 70]]), torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    )
    fill = DiffusersFill.from_pretrained(save(tmp_path / "weights"), FEW)
    edited = edit(picture, found, fill, ["a red scarf", "a blue scarf"])
    untouched = edited.mask == 0
    assert np.array_equal(edited.picture[untouched], picture[untouched])
    for place in (np.s_[20:40, 10:30], np.s_[50:70, 80:104]):
        assert (edited.mask[place] == 255).all()
        assert (edited.picture[place] != picture[place]).mean() > 0.9


@pytest.mark.slow
def test_flux_fill_which_the_auto_pipeline_does_not_know_is_loaded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_resolution", lambda pipeline: 64)  # its own 1024 px take long
    weights = tiny_pipelines.save_flux_fill(tmp_path / "weights")
    fill = DiffusersFill.from_pretrained(weights, FEW)
    filled = fill(noise(), masked(), "a red scarf")
    assert (filled[BOX] != noise()[BOX]).mean() > 0.9
    assert np.array_equal(filled[masked() == 0], noise()[masked() == 0])
    with pytest.raises(ConfigError, match="FluxFillPipeline takes no negative_prompt"):
        DiffusersFill.from_pretrained(weights, Diffusion(negative_prompt="blue"))


def test_a_seed_gives_one_picture_and_each_setting_another(pipeline):
    def fill(**settings):
        return DiffusersFill(pipeline, Diffusion(**{"steps": 3, **settings}))(noise(), masked(), "red")

    base = fill()
    assert np.array_equal(base, fill())
    for other in ({"seed": 1}, {"steps": 4}, {"strength": 0.7}, {"guidance": 1.5}, {"negative_prompt": "blue"}):
        assert not np.array_equal(base, fill(**other)), other


def test_the_prompt_decides_what_is_painted(pipeline):
    fill = DiffusersFill(pipeline, FEW)
    assert not np.array_equal(fill(noise(), masked(), "red"), fill(noise(), masked(), "blue"))
    assert np.array_equal(fill(noise(), masked(), "red"), fill(noise(), masked(), "red"))


def test_a_small_place_in_a_large_picture_is_painted_at_full_resolution():
    """20 x 40 px in 900 x 1200: a window of 120 x 120 px becomes 512 x 512."""
    pipeline = Recorder()
    filled = DiffusersFill(pipeline)(noise(900, 1200), masked(900, 1200, np.s_[400:420, 600:640]), "red")
    (call,) = pipeline.calls
    assert (call["width"], call["height"]) == call["image"].size == call["mask_image"].size == (512, 512)
    shown = np.asarray(call["mask_image"])
    rows, columns = np.nonzero(shown)
    assert set(np.unique(shown)) == {0, 255}
    scale = 512 / 120  # the window is 560..680 by 350..470
    assert abs(columns.min() - 40 * scale) <= 2
    assert abs(rows.max() + 1 - 70 * scale) <= 2
    assert (filled[400:420, 600:640] == (1, 2, 3)).all()


def test_each_place_is_painted_by_itself_from_the_top_with_the_next_seed():
    pipeline = Recorder()
    mask = masked(400, 400, np.s_[300:320, 40:60], np.s_[50:70, 200:220])
    DiffusersFill(pipeline, Diffusion(seed=7, crop=0.5))(noise(400, 400), mask, "red")
    assert [call["generator"].initial_seed() for call in pipeline.calls] == [7, 8]
    # 20 px, and at least 64 around them
    first = np.asarray(pipeline.calls[0]["image"].resize((64, 64)))
    assert np.abs(first.mean() - noise(400, 400)[28:92, 178:242].mean()) < 3


def test_what_is_not_set_is_left_to_the_pipeline():
    pipeline = Recorder()
    DiffusersFill(pipeline)(noise(), masked())
    assert (pipeline.calls[0]["strength"], pipeline.calls[0]["num_inference_steps"]) == (1.0, 50)
    DiffusersFill(pipeline, Diffusion(strength=0.5, steps=4))(noise(), masked())
    assert (pipeline.calls[1]["strength"], pipeline.calls[1]["num_inference_steps"]) == (0.5, 4)


def test_a_picture_that_the_safety_checker_blanks_is_not_taken(tmp_path):
    weights = tmp_path / "weights"
    tiny_pipelines.save_stable_diffusion(weights, cautious=True)
    with pytest.raises(ConfigError, match="safety checker refused what was painted for 'red'"):
        DiffusersFill.from_pretrained(weights, FEW)(noise(), masked(), "red")


@pytest.mark.parametrize(
    "settings",
    [
        {"strength": 0.0},
        {"strength": 1.1},
        {"steps": 0},
        {"guidance": -1.0},
        {"guidance": float("nan")},
        {"seed": -1},
        {"seed": 2**63},
        {"crop": -0.5},
        {"crop": float("inf")},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Diffusion(**settings)


@pytest.mark.parametrize("settings", [{"strength": 0.3, "steps": 3}, {"strength": 0.01}])
def test_a_strength_that_leaves_no_step_is_refused(settings):
    with pytest.raises(ConfigError, match="which is none"):
        DiffusersFill(Recorder(), Diffusion(**settings))


class TextToImage:
    def __call__(self, prompt, height, width):
        raise AssertionError


class WithoutResolution(Recorder):
    default_sample_size = None


@pytest.mark.parametrize(("pipeline", "named"), [(TextToImage(), "no inpainting"), (WithoutResolution(), "resolution")])
def test_other_pipelines_are_refused_by_name(pipeline, named):
    with pytest.raises(CheckpointError, match=f"{type(pipeline).__name__}.*{named}"):
        DiffusersFill(pipeline)


def refusal(weights: Path | str) -> str:
    with pytest.raises(CheckpointError) as raised:
        DiffusersFill.from_pretrained(weights)
    assert "\n" not in str(raised.value)
    message = str(raised.value)
    assert len(message.replace(str(weights), "")) < 500  # however long its path
    return message


def copied(weights: Path, folder: Path) -> Path:
    return Path(shutil.copytree(weights, folder))


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    assert "model_index.json" in refusal(tmp_path)


def test_a_pipeline_that_has_no_inpainting_is_refused(weights, tmp_path):
    folder = copied(weights, tmp_path / "weights")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "DDPMPipeline"}))
    assert "DDPMPipeline" in refusal(folder)


@pytest.mark.parametrize("name", ["no/such/folder", "nothing", "./nothing", "~/nothing/at/all"])
def test_what_is_neither_folder_nor_hub_id_is_refused_without_asking_the_hub(name):
    assert "no such folder" in refusal(name)


def test_a_hub_id_that_is_not_in_the_cache_is_refused_offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal("nobody/no-such-pipeline")


def test_the_cache_is_looked_at_before_the_hub(monkeypatch):
    asked = []

    def look(diffusers, source, dtype, variant, *, local_only):
        asked.append(local_only)
        raise OSError("not there")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(room, "_open", look)
    assert "not there" in refusal("owner/name")
    assert asked == [True, False]


def test_pickled_weights_are_not_read(weights, tmp_path):
    """Whole and harmless ones: only their format is refused."""
    folder = copied(weights, tmp_path / "weights")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", safe_serialization=False)
    assert (folder / "unet" / "diffusion_pytorch_model.bin").is_file()
    assert "safetensors found in directory" in refusal(folder)


def test_code_in_the_folder_is_not_run(weights, tmp_path):
    folder = copied(weights, tmp_path / "weights")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["evil", "Evil"]}))
    (folder / "unet" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    refusal(folder)
    assert not (tmp_path / "ran").exists()


def test_without_diffusers_the_message_says_what_to_install(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"diffusers is not installed: pip install 'gdino-lightning\[edit\]'"):
        DiffusersFill.from_pretrained(weights)


class Kept(logging.Handler):
    """Keeps messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.mark.parametrize("library", ["transformers.utils.import_utils", "diffusers.models.modeling_utils"])
def test_warnings_that_a_user_can_do_nothing_about_are_dropped_and_others_are_not(weights, library):
    DiffusersFill.from_pretrained(weights)
    kept, logger = Kept(), logging.getLogger(library)
    logger.addHandler(kept)
    logger.warning("`X` requires torchvision (not installed); falling back to `XPil`")
    logger.warning("There are modules in X that should be kept in float32: []. Casting")
    logger.warning("There are modules in X that should be kept in float32: ['norm']. Casting")
    logger.removeHandler(kept)
    assert kept.messages == ["There are modules in X that should be kept in float32: ['norm']. Casting"]
