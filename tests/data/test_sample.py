import hashlib
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from gdino_lightning.data import sample
from gdino_lightning.data.drawing.plan import plan_picture
from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.sample import draw_sample, voc_xml
from gdino_lightning.data.subjects import Drawn
from gdino_lightning.data.world import draw_scene
from gdino_lightning.errors import DatasetError

SHARED = Path(__file__).parents[2].parent / "shared"

# what a published annotation reads like, byte for byte (one object)
PUBLISHED = """
<annotation>
    <folder>images</folder>
    <filename>maksssksksss7.png</filename>
    <size>
        <width>400</width>
        <height>267</height>
        <depth>3</depth>
    </size>
    <segmented>0</segmented>
    <object>
        <name>without_mask</name>
        <pose>Unspecified</pose>
        <truncated>0</truncated>
        <occluded>0</occluded>
        <difficult>0</difficult>
        <bndbox>
            <xmin>59</xmin>
            <ymin>131</ymin>
            <xmax>164</xmax>
            <ymax>238</ymax>
        </bndbox>
    </object>
</annotation>"""


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "sample.json"
    }


def make(root: Path, num_images: int, seed: int = 0) -> Path:
    draw_sample(root, num_images=num_images, seed=seed, progress=False)
    return root


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sample"), 40)


def test_files_are_named_as_published(forty):
    assert sorted(digests(forty)) == sorted(
        [f"images/maksssksksss{i}.png" for i in range(40)] + [f"annotations/maksssksksss{i}.xml" for i in range(40)]
    )


def test_fewer_pictures_are_the_first_of_more(forty, tmp_path):
    few, many = digests(make(tmp_path, 6)), digests(forty)
    assert len(few) == 12
    assert few == {name: many[name] for name in few}


def test_other_seed_gives_other_bytes(tmp_path):
    a, b = digests(make(tmp_path / "a", 4)), digests(make(tmp_path / "b", 4, seed=1))
    assert a.keys() == b.keys()
    assert all(a[name] != b[name] for name in a if name.endswith(".png"))


def test_bytes_do_not_depend_on_processes(forty, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_workers", lambda pictures: 2)
    drawn = digests(make(tmp_path, 8))
    assert drawn == {name: digest for name, digest in digests(forty).items() if name in drawn}
    assert len(drawn) == 16


def test_second_run_writes_nothing(forty):
    before = {path: path.stat().st_mtime_ns for path in forty.rglob("*")}
    make(forty, 40)
    assert {path: path.stat().st_mtime_ns for path in forty.rglob("*")} == before


def test_interrupted_run_is_finished(forty, tmp_path):
    make(tmp_path, 8)
    (tmp_path / "images" / "maksssksksss3.png").unlink()
    (tmp_path / "annotations" / "maksssksksss5.xml").unlink()
    (tmp_path / "images" / ".maksssksksss3.png.part").write_bytes(b"half a pic")
    make(tmp_path, 8)
    drawn = digests(tmp_path)
    assert len(drawn) == 16
    assert drawn == {name: digest for name, digest in digests(forty).items() if name in drawn}


def test_killed_write_leaves_no_picture(tmp_path, monkeypatch):
    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt if target.suffix == ".png" else AssertionError

    make(tmp_path, 1)
    (tmp_path / "images" / "maksssksksss0.png").unlink()
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, 1)
    assert not (tmp_path / "images" / "maksssksksss0.png").exists()


@pytest.mark.parametrize(
    ("num_images", "seed", "named"), [(0, 0, "num_images"), (-3, 0, "num_images"), (4, -1, "seed")]
)
def test_impossible_numbers_are_refused(tmp_path, num_images, seed, named):
    with pytest.raises(DatasetError, match=named):
        draw_sample(tmp_path / "new", num_images=num_images, seed=seed, progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("num_images", "seed"), [(41, 0), (39, 0), (40, 1)])
def test_another_sample_is_refused(forty, num_images, seed):
    with pytest.raises(DatasetError, match=f"{re.escape(str(forty))}: .*--root"):
        make(forty, num_images, seed)


@pytest.mark.parametrize("foreign", ["images/holiday.png", "annotations/maksssksksss0.xml", "images/maksssksksss0.xml"])
def test_foreign_files_are_refused_and_kept(tmp_path, foreign):
    (tmp_path / foreign).parent.mkdir()
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(DatasetError, match=f"{re.escape(str(tmp_path / foreign).rsplit('/', 1)[0])}: .*--root"):
        make(tmp_path, 2)
    assert (tmp_path / foreign).read_text() == "mine"
    assert not (tmp_path / "sample.json").exists()


def test_file_added_to_a_sample_is_refused(tmp_path):
    make(tmp_path, 1)
    (tmp_path / "images" / "maksssksksss1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"maksssksksss1\.png"):
        make(tmp_path, 1)


def test_broken_marker_is_named(tmp_path):
    (tmp_path / "sample.json").write_text("{")
    with pytest.raises(DatasetError, match=r"sample\.json"):
        make(tmp_path, 1)


def test_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(DatasetError, match="is a file"):
        make(tmp_path / "root", 1)


@pytest.mark.parametrize("root", ["file/x", "/proc/x"])
def test_root_that_cannot_be_made_is_one_line_with_path_and_remedy(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(DatasetError, match=rf"^{root}.*: cannot be written \(.*\); choose another --root$"):
        make(Path(root), 1)


def test_a_folder_that_becomes_unwritable_is_named_also_by_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_workers", lambda pictures: 2)
    make(tmp_path, 1)
    (tmp_path / "images" / "maksssksksss0.png").unlink()
    (tmp_path / "images" / ".maksssksksss0.png.part").mkdir()
    with pytest.raises(DatasetError, match=r"maksssksksss0.*: cannot be written .* choose another --root"):
        make(tmp_path, 1)


def test_marker_says_what_was_drawn(forty):
    marker = json.loads((forty / "sample.json").read_text())
    assert (marker["seed"], marker["num_images"]) == (0, 40)


def test_pictures_are_stored_as_planned(forty):
    kinds = set()
    for index in range(40):
        plan = plan_picture(0, index)
        stored = cv2.imread(str(forty / "images" / f"maksssksksss{index}.png"), cv2.IMREAD_UNCHANGED)
        assert stored.shape == (plan.height, plan.width, plan.channels)
        assert stored.dtype == (np.uint16 if plan.bits == 16 else np.uint8)
        if plan.channels == 4:
            assert np.mean(stored[..., 3] == 2**plan.bits - 1) > 0.98
        assert stored[..., :3].std() > 0.02 * 2**plan.bits  # something is to be seen
        kinds.add((plan.bits, plan.channels))
    assert kinds == {(8, 3), (8, 4), (16, 3), (16, 4)}


def test_annotations_hold_the_planned_boxes(forty):
    for index in range(40):
        root = ET.parse(forty / "annotations" / f"maksssksksss{index}.xml").getroot()
        plan = plan_picture(0, index)
        found = [
            (item.findtext("name"), tuple(int(corner.text or "") for corner in item.find("bndbox") or ()))
            for item in root.iter("object")
        ]
        assert found == [(head.label, head.box) for head in plan.heads]
        assert (root.findtext("size/width"), root.findtext("size/height")) == (
            str(plan.width),
            str(plan.height),
        )


def test_xml_is_the_published_format():
    pixels = np.zeros((267, 400, 4), np.uint8)
    assert voc_xml(Drawn("maksssksksss7", pixels, (("without_mask", (59, 131, 164, 238)),))) == PUBLISHED


def test_xml_of_a_negative_has_no_object():
    drawn = Drawn("maksssksksss7", np.zeros((267, 400, 4), np.uint8), ())
    assert voc_xml(drawn) == re.sub(r"    <object>.*</object>\n", "", PUBLISHED, flags=re.DOTALL)


def test_scenes_of_the_world_are_stored_with_the_kind_and_the_place_of_every_thing(tmp_path):
    draw_sample(tmp_path / "source", num_images=8, seed=2, subject="world", progress=False)
    prepare(tmp_path / "source", tmp_path / "data", num_train=5, progress=False)
    found = {picture.name: picture for part in ("train", "test") for picture in read_split(tmp_path / "data" / part)}
    assert sorted(found) == [f"scene{index}.png" for index in range(8)]
    for index in range(8):
        picture = found[f"scene{index}.png"]
        scene = draw_scene(2, index, "seen", (picture.height, picture.width))
        stored = cv2.imread(str(tmp_path / "source" / "images" / picture.name))[..., ::-1]
        assert np.array_equal(stored, scene.image)
        assert list(picture.labels) == [thing.kind for thing in scene.objects]
        assert picture.boxes_px == pytest.approx(np.array([thing.box_px for thing in scene.objects]), abs=0.5)


def test_bytes_of_scenes_do_not_depend_on_processes_and_a_folder_keeps_its_subject(tmp_path, monkeypatch):
    draw_sample(tmp_path / "a", num_images=4, subject="world", progress=False)
    monkeypatch.setattr(sample, "_workers", lambda pictures: 2)
    draw_sample(tmp_path / "b", num_images=4, subject="world", progress=False)
    assert len(digests(tmp_path / "a")) == 8
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    with pytest.raises(DatasetError, match="holds another sample"):
        make(tmp_path / "a", 4)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data folder beside the checkout")
def test_xml_has_the_skeleton_of_a_published_file():
    with zipfile.ZipFile(SHARED / "data" / "face-mask-detection-png-sample.zip") as archive:
        name = next(n for n in archive.namelist() if n.endswith("maksssksksss0.xml"))
        published = archive.read(name).decode()
    blank = re.compile(r">[^<\n]+<")
    first, *_ = blank.sub("><", published).split("    </object>\n")
    assert blank.sub("><", PUBLISHED).startswith(first)
    assert published.endswith("    </object>\n</annotation>")
