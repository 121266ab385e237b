import pytest
from voc_factory import dataset_files, png, voc_xml, write_files

from gdino_lightning.data.check import Checked, check_source
from gdino_lightning.data.recognise import open_source
from gdino_lightning.data.table import Row

CAT = ("cat", (1, 2, 20, 25))


@pytest.fixture
def check(tmp_path):
    """Checks the files of a dataset after some were replaced, added or (None) removed."""

    def run(changes: dict[str, bytes | None] | None = None, count: int = 3) -> Checked:
        files = {**dataset_files(count), **(changes or {})}
        folder = write_files(tmp_path / "data", {name: data for name, data in files.items() if data is not None})
        with open_source(folder) as source:
            return check_source(source, progress=False)

    return run


def texts(checked: Checked, where: str) -> list[str]:
    """Problem messages from the place named on."""
    return [problem.text[problem.text.index(where) :] for problem in checked.problems]


def names(checked: Checked) -> list[str]:
    return [item.picture.name for item in checked.pictures]


def test_a_good_dataset_has_rows_as_annotated_and_no_problem(check):
    checked = check()
    assert names(checked) == ["p0.png", "p1.png", "p2.png"]
    assert checked.pictures[1].rows == (Row("cat", (2.0, 2.0, 20.0, 25.0), "p1.png", 40, 30),)
    assert checked.pictures[2].rows == ()
    assert checked.problems == ()


def test_the_digest_follows_content_and_names(check):
    first = check().source_sha256
    assert check().source_sha256 == first
    assert check({"images/p0.png": png(seed=9)}).source_sha256 != first


def test_the_size_comes_from_the_picture_where_the_xml_has_none(check):
    xml = voc_xml("p0.png", [CAT]).replace(b"<size><width>40</width><height>30</height></size>", b"")
    row = check({"annotations/p0.xml": xml}).pictures[0].rows[0]
    assert (row.image_width, row.image_height) == (40, 30)


@pytest.mark.parametrize(("size", "hint"), [((30, 40), "swapped?"), ((40, 31), "check the annotation")])
def test_a_size_that_is_not_the_pictures_is_a_problem(check, size, hint):
    checked = check({"annotations/p0.xml": voc_xml("p0.png", [CAT], size)})
    (text,) = texts(checked, "p0.xml")
    assert f"<size> is {size[0]}x{size[1]} px, the picture has 40x30" in text
    assert hint in text
    assert names(checked) == ["p1.png", "p2.png"]


def test_bad_boxes_are_dropped_one_by_one_with_line_and_object(check):
    items = [("cat", (20, 2, 10, 9)), CAT, ("dog", (50, 2, 60, 9)), ("dog", (1, 2, "x", 9))]
    checked = check({"annotations/p0.xml": voc_xml("p0.png", items)})
    assert texts(checked, "p0.xml") == [
        "p0.xml:11: object 4 (dog): <xmax> is 'x', expected a number",
        "p0.xml:4: object 1 (cat): box (20, 2) to (10, 9) ends before it starts; are the corners swapped?",
        "p0.xml:8: object 3 (dog): box (50, 2) to (60, 9) lies outside the picture of 40x30 px",
    ]
    assert {problem.drops for problem in checked.problems} == {"box"}
    assert [row.box_px for row in checked.pictures[0].rows] == [CAT[1]]


def test_a_picture_whose_boxes_are_all_bad_is_dropped_and_no_negative(check):
    checked = check({"annotations/p0.xml": voc_xml("p0.png", [("cat", (5, 5, 5, 9))])})
    assert names(checked) == ["p1.png", "p2.png"]
    assert [problem.drops for problem in checked.problems] == ["box", "picture"]


def test_exact_repetitions_are_kept_once_and_counted(check):
    item = check({"annotations/p0.xml": voc_xml("p0.png", [CAT, CAT, ("cat", (1, 2, 20, 24)), CAT])}).pictures[0]
    assert len(item.rows) == 2
    assert item.repeated == 2


def test_one_box_with_two_labels_is_a_problem(check):
    checked = check({"annotations/p0.xml": voc_xml("p0.png", [CAT, ("dog", CAT[1]), ("cat", (1, 2, 3, 4))])})
    assert ["the same box has the labels cat, dog" in problem.text for problem in checked.problems] == [
        True,
        True,
    ]
    assert len(checked.pictures[0].rows) == 1


def test_boxes_that_leave_the_picture_are_measured_and_kept(check):
    items = [("cat", (1, 2, 41, 25)), ("cat", (-2.5, 2, 41, 25)), ("cat", (0, 0, 40, 30))]
    item = check({"annotations/p0.xml": voc_xml("p0.png", items)}).pictures[0]
    assert item.overhangs_px == [1.0, 2.5]
    assert item.rows[0].box_px == (1, 2, 41, 25)


@pytest.mark.parametrize("data", [b"", b"no picture", png()[:300]])
def test_a_damaged_picture_is_a_problem(check, data):
    checked = check({"images/p0.png": data})
    assert [problem.reason for problem in checked.problems] == ["unreadable picture"]
    assert "images/p0.png: " in checked.problems[0].text
    assert names(checked) == ["p1.png", "p2.png"]


def test_a_damaged_annotation_is_one_problem_and_drops_its_picture(check):
    checked = check({"annotations/p0.xml": b"<annotation>"})
    (problem,) = checked.problems
    assert (problem.drops, problem.reason) == ("annotation", "unreadable annotation")
    assert names(checked) == ["p1.png", "p2.png"]


def test_pictures_and_annotations_without_the_other_are_problems(check):
    checked = check({"images/p0.png": None, "annotations/p1.xml": None})
    assert [problem.reason for problem in checked.problems] == [
        "annotation without its picture",
        "picture without annotation",
    ]
    assert "no picture 'p0.png' in images/" in checked.problems[0].text
    assert "add p1.xml to annotations/" in checked.problems[1].text
    assert names(checked) == ["p2.png"]


@pytest.mark.parametrize("filename", ["p0.PNG", "p0.jpg", "renamed.png", None])
def test_an_annotation_that_names_no_picture_goes_by_its_own_name(check, filename):
    xml = voc_xml(filename or "", [CAT])
    checked = check({"annotations/p0.xml": xml})
    assert checked.problems == ()
    assert [item.matched_by_name for item in checked.pictures] == [True, False, False]
    assert checked.pictures[0].rows[0].image_name == "p0.png"


def test_filename_leads_where_the_xml_has_another_name(check):
    checked = check({"annotations/p0.xml": None, "annotations/other.xml": voc_xml("p0.png", [CAT])})
    assert checked.problems == ()
    assert checked.pictures[0].annotation.name == "other.xml"


def test_filename_and_own_name_that_lead_to_two_pictures_are_a_problem(check):
    checked = check({"annotations/p0.xml": voc_xml("p1.png", [CAT])})
    assert "<filename> is 'p1.png', but 'p0.png' exists as well" in checked.problems[0].text


def test_two_annotations_for_one_picture_are_a_problem_that_names_both(check):
    checked = check({"annotations/other.xml": voc_xml("p0.png", [CAT])})
    (problem,) = checked.problems
    assert "other.xml and " in problem.text
    assert "p0.xml: both are for picture 'p0.png'" in problem.text
    assert names(checked) == ["p1.png", "p2.png"]


def test_an_annotation_that_fits_two_pictures_is_a_problem(check):
    checked = check({"annotations/p0.xml": voc_xml("", [CAT]), "images/p0.bmp": png()})
    assert "fits several pictures (p0.bmp, p0.png)" in checked.problems[0].text
    assert names(checked) == ["p1.png", "p2.png"]


def test_a_second_picture_of_the_same_stem_is_not_lost_silently(check):
    checked = check({"images/p0.bmp": png(seed=5)})
    (text,) = texts(checked, "p0.bmp")
    assert text.startswith("p0.bmp: picture without annotation")
