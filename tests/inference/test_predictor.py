"""The predictor against transformers' own forward on tensors made here, and against itself where nothing may differ."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gdino_lightning.data.sample import draw_sample
from gdino_lightning.errors import CheckpointError, ConfigError, DatasetError, PromptError
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.model.folder import EvaluationSettings
from gdino_lightning.model.pretrained import load_pretrained

PHRASES = ["rabbit", "red book", "letter x"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained("nano", device="cpu")


@pytest.fixture(scope="module")
def rgb(tmp_path_factory) -> np.ndarray:
    """A drawn scene with rabbits in it."""
    folder = tmp_path_factory.mktemp("scenes")
    draw_sample(folder, num_images=4, seed=1, subject="world", progress=False)
    found = next(path for path in sorted((folder / "annotations").iterdir()) if "rabbit" in path.read_text())
    return cv2.cvtColor(cv2.imread(str(folder / "images" / f"{found.stem}.png")), cv2.COLOR_BGR2RGB)


def transformers_says(rgb: np.ndarray) -> list[tuple[float, int, list[float]]]:
    """Score, phrase and box of every pair by transformers' own forward, best first; 192 px on multiples of 32."""
    loaded = load_pretrained("nano")
    height, width = rgb.shape[:2]
    scale = 192 / max(width, height)
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    canvas = [-(-side // 32) * 32 for side in small.shape[:2]]
    pixels = torch.zeros(1, 3, *canvas)
    mask = torch.zeros(1, *canvas, dtype=torch.long)
    pixels[0, :, : small.shape[0], : small.shape[1]] = torch.from_numpy(((small / 255 - mean) / std).transpose(2, 0, 1))
    mask[0, : small.shape[0], : small.shape[1]] = 1
    encoding = loaded.tokenizer.encode("rabbit . red book . letter x .")
    with torch.no_grad():
        out = loaded.model(
            pixel_values=pixels,
            pixel_mask=mask,
            input_ids=torch.tensor([encoding.ids]),
            attention_mask=torch.ones(1, len(encoding.ids), dtype=torch.long),
        )
    tokens = {0: ["rabbit"], 1: ["red", "book"], 2: ["letter", "x"]}
    probabilities = out.logits[0].sigmoid()
    pairs = []
    for query, (cx, cy, w, h) in enumerate(out.pred_boxes[0].tolist()):
        box = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
        box = [min(max(value, 0), limit) for value, limit in zip(box, [width, height] * 2, strict=True)]
        for phrase, words in tokens.items():
            places = [encoding.tokens.index(word) for word in words]
            pairs.append((float(probabilities[query, places].mean()), phrase, box))
    return sorted(pairs, reverse=True)


def test_what_it_says_is_what_transformers_says(predictor, rgb):
    found = predictor.look(rgb, PHRASES).found
    expected = transformers_says(rgb)
    assert found.names == tuple(PHRASES)
    assert len(found) == 300 == len(expected)
    assert expected[0][0] > 0.5
    np.testing.assert_allclose(found.scores, [score for score, _, _ in expected], atol=1e-4)
    confident = [each for each in expected if each[0] > 0.1]
    assert found.labels[: len(confident)].tolist() == [phrase for _, phrase, _ in confident]
    np.testing.assert_allclose(found.boxes[: len(confident)], [box for _, _, box in confident], atol=0.05)


def test_paths_pillow_pictures_and_arrays_of_one_picture_are_alike(predictor, rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    wanted = predictor.predict(rgb, PHRASES)
    assert len(wanted) > 0
    for picture in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(rgb)):
        found = predictor.predict(picture, " . ".join(PHRASES))
        assert torch.equal(found.boxes, wanted.boxes)
        assert found.texts() == wanted.texts()


def test_a_turned_photograph_gives_the_boxes_of_the_upright_one(predictor, rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(rgb).copy()).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(predictor.predict(tmp_path / "turned.png", PHRASES).boxes, predictor.predict(rgb, PHRASES).boxes)


def test_other_thresholds_need_no_second_look(predictor, rgb):
    answers = predictor.look(rgb, PHRASES)
    for settings in ({}, {"box_threshold": 0.1, "text_threshold": 0.0}, {"nms_iou": 0.9, "agnostic_nms": 0.3}):
        assert torch.equal(answers.detections(**settings).scores, predictor.predict(rgb, PHRASES, **settings).scores)
    assert len(answers.detections(box_threshold=0.05, text_threshold=0.0)) > len(answers.detections())


def test_names_of_classes_and_their_order_come_back(predictor, rgb):
    found = predictor.predict(rgb, {"animal": "rabbit", "volume": "red book", "sign": "letter x"})
    assert found.names == ("animal", "volume", "sign")
    assert torch.equal(found.scores, predictor.predict(rgb, PHRASES).scores)


def test_phrases_that_need_several_prompts_are_all_asked(rgb):
    loaded = load_pretrained("nano")
    narrow = Predictor(loaded, EvaluationSettings(192, 192, 32, prompt_tokens=7), torch.device("cpu"))
    question = narrow.question(PHRASES)
    assert len(question.prompts) == 2
    found = narrow.predict(rgb, PHRASES, box_threshold=0.3, text_threshold=0.0)
    alone = {phrase: narrow.predict(rgb, [phrase], box_threshold=0.3, text_threshold=0.0) for phrase in PHRASES}
    assert found.texts().count("rabbit") == len(alone["rabbit"]) > 0
    assert narrow.question(PHRASES) is narrow.question(PHRASES)


def test_nothing_there_is_a_normal_result(predictor):
    found = predictor.predict(np.zeros((30, 40, 3), np.uint8), "cat", box_threshold=0.99)
    assert (len(found), found.boxes.shape, found.names) == (0, (0, 4), ("cat",))


def test_the_weights_own_phrases_and_thresholds_are_used_by_default():
    loaded = load_pretrained("nano")
    loaded.phrases = {"building": "house", "animal": "cat"}
    loaded.thresholds = Thresholds((0.11, 0.22), (0.33, 0.44)).to_plain()
    own = Predictor(loaded, EvaluationSettings(64, 64, 32), torch.device("cpu"))
    assert own.phrases == ("house", "cat")
    blank = np.zeros((30, 40, 3), np.uint8)
    assert own.look(blank).calibrated == Thresholds((0.11, 0.22), (0.33, 0.44))
    assert own.look(blank).found.names == ("building", "animal")
    assert own.look(blank, "house . cat").calibrated is not None  # the same words in the same order
    assert own.look(blank, "cat . house").calibrated is None
    assert own.look(blank, "cat").calibrated is None


def test_the_size_can_be_chosen():
    assert Predictor.from_pretrained("nano", device="cpu", short_side=384).sizing.long_side_max == 384
    wide = Predictor.from_pretrained("nano-random", device="cpu", short_side=100, long_side_max=300)
    assert (wide.sizing.short_side, wide.sizing.long_side_max, wide.sizing.multiple) == (100, 300, 32)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda p: p.predict(np.zeros((9, 9, 3), np.uint8)), PromptError, "no phrases of their own"),
        (lambda p: p.predict("gone.png", "cat"), DatasetError, r"gone\.png: cannot be read"),
        (lambda p: p.predict(np.zeros((9, 9, 3), np.uint8), "cat", nms_iou=2), ConfigError, "nms_iou is 2"),
        (lambda p: p.predict(np.zeros((9, 9, 3), np.uint8), ["漢字"]), PromptError, "known to the tokenizer"),
        (lambda _: Predictor.from_pretrained("gone.ckpt"), CheckpointError, r"gone\.ckpt: no such checkpoint"),
        (lambda _: Predictor.from_pretrained("nano", device="abacus"), ConfigError, "device 'abacus'"),
        (lambda _: Predictor.from_pretrained("nano", device="meta"), ConfigError, "meta"),
        (lambda _: Predictor.from_pretrained("nano", short_side=0), ConfigError, "short_side is 0"),
        (lambda _: Predictor.from_pretrained("nano", long_side_max=9), ConfigError, "long_side_max 9"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(predictor, call, error, says):
    with pytest.raises(error, match=says) as caught:
        call(predictor)
    assert "\n" not in str(caught.value)
