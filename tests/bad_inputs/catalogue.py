"""Which rows the catalogue has, and which of them the table does not hold, each with its reason."""

_ROWS = {"X": 34, "I": 20, "C": 18, "S": 12, "G": 16, "R": 26, "D": 6}
CATALOGUE = frozenset(f"{group}{number:02}" for group, count in _ROWS.items() for number in range(1, count + 1))

# paths that leave, absolute paths, links, bombs, folders inside, damage, no archive at all
ADDED = frozenset(f"A{number:02}" for number in range(1, 8))

_NO_INPUT = "nothing that a user gives: "
MISSING = {
    "S11": "two preparations of one folder at once are not told apart yet",
    "G11": _NO_INPUT + "the versions that pyproject.toml accepts",
    "G12": _NO_INPUT + "what we save; tests/training/test_module.py and tests/model/test_pretrained.py hold it",
    "G14": "a resumed run does not say yet which data or settings differ",
    "R01": _NO_INPUT + "no picture decodes to NaN; tests/cli/test_early_ends.py holds how numbers end a run",
    "R02": _NO_INPUT + "tests/cli/test_early_ends.py",
    "R04": _NO_INPUT + "targets are made from checked boxes; tests/traps/test_pictures.py",
    "R05": _NO_INPUT + "targets are made from checked boxes; tests/traps/test_pictures.py",
    "R06": _NO_INPUT + "class indices are made from checked labels; tests/data/test_dataset.py",
    "R09": "a run does not say yet how many boxes are more than the queries",
    "R15": _NO_INPUT + "tests/evaluation/test_coco_map.py",
    "R16": _NO_INPUT + "classes have the order they are written in; tests/prompt",
    "R17": _NO_INPUT + "tests/traps and tests/training/test_questions.py",
    "R18": _NO_INPUT + "a signal",
    "R19": _NO_INPUT + "a signal",
    "R20": _NO_INPUT + "a signal",
    "R21": _NO_INPUT + "a kill",
    "R22": _NO_INPUT + "a resumed run",
    "R23": _NO_INPUT + "a resumed run",
    "R24": _NO_INPUT + "a second run",
    "R25": _NO_INPUT + "a full disk while a checkpoint is written",
    **{f"D{number:02}": _NO_INPUT + "several processes" for number in range(1, 7)},
}
