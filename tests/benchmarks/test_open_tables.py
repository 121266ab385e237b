import pytest

from benchmarks import open_tables
from gdino_lightning.data import pictures


def test_both_ways_are_timed_on_the_same_boxes(capsys, monkeypatch):
    monkeypatch.setattr(pictures, "_LARGE_BYTES", 0)
    assert open_tables.main(["--pictures=5", "--boxes=3", "--repeats=1"]) == 0
    head, _, told, packed, _ = capsys.readouterr().out.splitlines()
    assert "5 pictures, 15 boxes" in head
    for line, way in ((told, "table"), (packed, "packed")):
        name, seconds, memory, disk = (cell.strip() for cell in line.strip("|").split("|"))
        assert name == way
        assert float(seconds) < 60
        assert float(memory.replace(",", "")) > float(disk) >= 0


def test_a_folder_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(open_tables.RunError, match=r"annotations\.csv: cannot be read"):
        open_tables._open(tmp_path)
