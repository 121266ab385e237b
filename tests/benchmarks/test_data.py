import json

import pytest

from benchmarks import data
from benchmarks._growth import Settings, loaded, prepared


def test_growth_is_told_by_size(capsys, tmp_path):
    output = tmp_path / "data.json"
    assert data.main(["--sizes", "6", "4", f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    grown = json.loads(output.read_text())["growth"]
    assert list(grown) == ["4", "6"]  # from small to large
    assert grown["6"]["boxes"] == 60
    for each in grown.values():
        parts = each["annotations"] + each["pictures"] + each["writing"] + each["rest"]
        assert parts == pytest.approx(each["prepare"], rel=0.2)
        assert each["module"] > 0 < each["epoch"]
        assert each["peak_mb"] > 100
    assert "| 6 | 60 |" in printed


def test_a_drawn_folder_is_one_that_prepare_takes_and_the_loader_reads(tmp_path):
    data.draw_voc(tmp_path / "voc", 12)
    found = prepared(Settings("prepare", str(tmp_path / "voc"), str(tmp_path / "root")))
    assert found["boxes"] == 120
    load = Settings("load", "", str(tmp_path / "root"), short_side=32, long_side_max=64)
    assert loaded(load)["rate"] > 0
