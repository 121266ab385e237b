"""`gdino edit`: from a picture and words to a picture."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines
import torch
from huggingface_hub import constants
from PIL import Image

from gdino_lightning.cli import edit_verb, main
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.data.voc import scan_voc
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.predictor import Predictor

CAR, BIRD = (30.0, 40.0, 70.0, 80.0), (120.0, 20.0, 150.0, 60.0)  # where the stand-in finds them


class StandIn:
    """A predictor that finds a car and a bird, if it is asked for them, at places known to the tests."""

    device = torch.device("cpu")
    asked = None

    def predict(self, picture, phrases, **thresholds):
        type(self).asked = (picture.copy(), phrases, thresholds)
        places = {"car": CAR, "bird": BIRD}
        labels = [label for label, phrase in enumerate(phrases) if phrase in places]
        return Detections(
            torch.tensor([places[phrases[label]] for label in labels], dtype=torch.float32).reshape(-1, 4),
            torch.full((len(labels),), 0.5),
            torch.tensor(labels, dtype=torch.int64),
            names=tuple(phrases),
        )


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(Predictor, "from_pretrained", lambda weights, device: StandIn())


@pytest.fixture
def source(tmp_path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return tiny_pipelines.save_stable_diffusion(tmp_path_factory.mktemp("tiny") / "weights")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def edit(source: Path, *arguments: str, output: str = "y.png") -> Path:
    written = source.parent / output
    assert main(["edit", "--source", str(source), "--output", str(written), *arguments]) == 0
    return written


def failure(capsys, source: Path, *arguments: str, output: str = "y.png") -> str:
    assert main(["edit", "--source", str(source), "--output", str(source.parent / output), *arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("gdino: ")
    assert printed.count("\n") == 1
    assert not (source.parent / "y.png").exists()
    return printed


def inside(*boxes: tuple[float, float, float, float], padding: int) -> np.ndarray:
    where = np.zeros((100, 200), bool)
    for x1, y1, x2, y2 in boxes:
        where[int(y1) - padding : int(y2) + padding, int(x1) - padding : int(x2) + padding] = True
    return where


@pytest.mark.slow
def test_the_shipped_miniature_finds_a_drawn_car_and_it_is_gone(tmp_path, capsys):
    draw_sample(tmp_path / "world", num_images=4, seed=5, subject="world", progress=False)
    source = tmp_path / "world" / "images" / "scene3.png"
    annotation, _ = scan_voc((tmp_path / "world" / "annotations" / "scene3.xml").read_bytes(), "scene3.xml")
    ((x1, y1, x2, y2),) = (map(int, each.box_px) for each in annotation.objects if each.label == "car")
    written = edit(source, "--phrase", "car", "--save_mask", str(tmp_path / "m.png"))
    assert capsys.readouterr().out.startswith("car: 1\n")
    before, after, mask = pixels(source)[..., :3], pixels(written), pixels(tmp_path / "m.png")
    assert (mask[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3] == 255).all()
    assert (mask > 0).mean() < 4 * (x2 - x1) * (y2 - y1) / mask.size
    assert np.array_equal(after[mask == 0], before[mask == 0])
    again = tmp_path / "again.png"
    assert main(["edit", "--source", str(written), "--phrase", "car", "--output", str(again)]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("nothing found")
    assert again.read_bytes() == written.read_bytes()


@pytest.mark.usefixtures("stand_in")
def test_opencv_removes_and_keeps_every_other_byte(source):
    before = pixels(source)
    after = pixels(edit(source, "--phrase", "car", "--phrase", "bird"))
    changed = inside(CAR, BIRD, padding=6)  # 0.15 of 40 px
    assert np.array_equal(after[~changed], before[~changed])
    assert (after[inside(CAR, BIRD, padding=0)] != before[inside(CAR, BIRD, padding=0)]).mean() > 0.9


@pytest.mark.usefixtures("stand_in")
def test_the_words_and_thresholds_reach_the_detector_and_the_picture_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.random.default_rng(1).integers(0, 256, (200, 100, 3), dtype=np.uint8)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
    flags = ["--phrase", "a  car ", "--box_threshold=0.1", "--text_threshold=0.2", "--nms_iou=0.3"]
    edit(tmp_path / "x.png", *flags)
    picture, phrases, thresholds = StandIn.asked
    assert np.array_equal(picture, np.rot90(stored, -1))
    assert phrases == ["a car"]
    assert thresholds == {"box_threshold": 0.1, "text_threshold": 0.2, "nms_iou": 0.3}


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_diffusion_paints_each_phrase_by_its_own_prompt(source, tiny):
    """Swapped prompts paint something else, the same command the same; all other bytes are kept."""
    flags = ["--phrase", "car", "--phrase", "bird", "--inpaint_weights", str(tiny), "--steps", "3", "--seed", "4"]
    before = pixels(source)
    one = pixels(edit(source, *flags, "--prompt", "red", "--prompt", "blue", output="1.png"))
    same = pixels(edit(source, *flags, "--prompt", "red", "--prompt", "blue", output="2.png"))
    swapped = pixels(edit(source, *flags, "--prompt", "blue", "--prompt", "red", output="3.png"))
    assert np.array_equal(one, same)
    changed = inside(CAR, BIRD, padding=6)
    assert np.array_equal(one[~changed], before[~changed])
    for box in (CAR, BIRD):
        place = inside(box, padding=0)
        assert (one[place] != before[place]).mean() > 0.9
        assert not np.array_equal(one[place], swapped[place])


@pytest.mark.usefixtures("stand_in")
def test_nothing_found_is_the_source_to_the_byte_and_needs_no_pipeline(source, capsys):
    written = edit(source, "--phrase", "dog", "--prompt", "a cat", "--inpaint_weights", "no/such/folder")
    assert written.read_bytes() == source.read_bytes()
    assert "dog: 0\nnothing found, the picture is written as it is" in capsys.readouterr().out
    converted = edit(source, "--phrase", "dog", output="y.webp")
    assert np.array_equal(pixels(converted), pixels(source))


@pytest.mark.usefixtures("stand_in")
def test_the_mask_alone_and_beside_are_the_same_and_count_by_hand(source):
    flags = ["--phrase", "car", "--padding=0.1", "--feather=0"]
    alone = pixels(edit(source, *flags, "--mask_only"))
    edit(source, *flags, "--save_mask", str(source.parent / "m.png"))
    assert np.array_equal(alone, 255 * inside(CAR, padding=4))
    assert np.array_equal(pixels(source.parent / "m.png"), alone)
    ellipse = pixels(edit(source, *flags, "--ellipse", "--mask_only"))
    assert abs((ellipse > 0).sum() - np.pi * 24**2) < 30


@pytest.mark.usefixtures("stand_in")
def test_the_sheet_is_written_beside(source, capsys):
    edit(source, "--phrase", "car", "--sheet", str(source.parent / "sheet.jpg"))
    assert pixels(source.parent / "sheet.jpg").shape[1] == 3 * 720 + 2 * 8
    assert str(source.parent / "sheet.jpg") in capsys.readouterr().out


@pytest.mark.usefixtures("stand_in")
def test_jpeg_is_written_with_a_warning(source, capsys):
    edit(source, "--phrase", "car", output="y.jpg")
    assert "JPEG changes all pixels a little" in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in")
def test_transparency_is_kept(tmp_path):
    rgba = np.random.default_rng(2).integers(0, 256, (100, 200, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    after = pixels(edit(tmp_path / "x.png", "--phrase", "car"))
    assert np.array_equal(after[..., 3], rgba[..., 3])
    assert np.array_equal(after[~inside(CAR, padding=6)], rgba[~inside(CAR, padding=6)])


@pytest.mark.usefixtures("stand_in")
def test_the_source_is_written_over_only_if_that_is_said(source, capsys, monkeypatch):
    before = source.read_bytes()
    assert "--overwrite" in failure(capsys, source, "--phrase", "car", output="x.png")
    monkeypatch.chdir(source.parent)
    (source.parent / "link.png").symlink_to(source)
    assert "--overwrite" in failure(capsys, source, "--phrase", "car", output="link.png")
    assert "--overwrite" in failure(capsys, source, "--phrase", "car", "--overwrite", "--save_mask", "x.png")
    assert source.read_bytes() == before
    edit(source, "--phrase", "car", "--overwrite", output="x.png")
    assert source.read_bytes() != before


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--phrase", "car", "--phrase", " car"], "'car' is given twice"),
        (["--phrase", "car", "--prompt", "a", "--prompt", "b"], "1 --phrase but 2 --prompt"),
        (["--phrase", "car", "--prompt", "a"], "--inpaint_weights"),
        (["--phrase", "car", "--backend", "diffusers"], "--inpaint_weights"),
        (["--phrase", "car", "--prompt", "a", "--backend", "opencv"], "opencv only removes"),
        (["--phrase", "car", "--padding=-1"], "padding"),
        (["--phrase", "car", "--radius=0"], "radius"),
        (["--phrase", "car", "--method=magic"], "magic"),
        (["--phrase", "car", "--save_mask=m.jpg"], ".png"),
        (["--phrase", "car", "--sheet=s.png"], ".jpg"),
        (["--phrase", "car", "--sheet=s.jpg", "--save_mask=s.jpg"], ".png"),
        (["--phrase", "car", "--prompt", "a", "--inpaint_weights=x/y", "--steps=0"], "steps"),
        (["--phrase", "car", "--prompt", "a", "--inpaint_weights=x/y", "--strength=2"], "strength"),
        (["--phrase", "car", "--prompt", "a", "--inpaint_weights=x/y/z"], "x/y/z: no such folder"),
        ([], "--phrase"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line_by_name(flags, named, source, capsys):
    assert named in failure(capsys, source, *flags)


@pytest.mark.usefixtures("stand_in")
def test_an_unknown_ending_is_refused_with_the_known_ones(source, capsys):
    assert ".webp" in failure(capsys, source, "--phrase", "car", output="y.heic")


def test_an_unreadable_source_is_refused_by_name(source, capsys):
    assert "absent.png" in failure(capsys, source.with_name("absent.png"), "--phrase", "car")
    source.write_text("no picture")
    assert "x.png" in failure(capsys, source, "--phrase", "car")


@pytest.mark.usefixtures("stand_in")
def test_a_pipeline_that_is_nowhere_is_refused_offline(source, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    flags = ["--phrase", "car", "--prompt", "a", "--inpaint_weights", "nobody/no-such-pipeline"]
    assert "HF_HUB_OFFLINE is set" in failure(capsys, source, *flags)


@pytest.mark.usefixtures("stand_in")
def test_without_diffusers_painting_says_what_to_install_and_removing_works(source, capsys, monkeypatch, tiny):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    flags = ["--phrase", "car", "--prompt", "a", "--inpaint_weights", str(tiny)]
    assert "pip install 'gdino-lightning[edit]'" in failure(capsys, source, *flags)
    assert edit(source, "--phrase", "car").is_file()


DOCUMENT = (Path(__file__).parents[2] / "docs" / "editing.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^gdino edit .*$", DOCUMENT, re.MULTILINE))
def test_the_documented_commands_are_taken(line):
    _, _, *arguments = shlex.split(line)
    options = edit_verb._parser().parse_args(arguments)
    edit_verb._check(options)
    assert options.backend == ("diffusers" if options.prompt else "opencv")


@pytest.mark.usefixtures("stand_in")
def test_the_documented_example_in_python_runs(source, tiny, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    monkeypatch.chdir(source.parent)
    Image.open(source).save("x.jpg")
    for placeholder, value in (
        ("path/to/folder", str(tiny)),
        ('"cuda"', '"cpu"'),
        ("steps=30", "steps=2"),
        ('from_pretrained("nano")', 'from_pretrained("nano", device="cpu")'),
        ('["cat", "key"]', '["car", "bird"]'),
    ):
        assert placeholder in example
        example = example.replace(placeholder, value)
    names: dict = {}
    exec(example, names)
    assert np.array_equal(pixels(Path("y.png")), names["replaced"].picture)
    assert not np.array_equal(names["removed"].picture, names["source"].rgb)


def test_the_help_imports_nothing_heavy():
    code = "import sys; from gdino_lightning.cli.edit_verb import _parser; _parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "diffusers", "transformers", "cv2"}
