"""The ablations on the drawn world: what is trained and asked, and that the scores are those of `gdino world`."""

import json

import pytest
import torch
import yaml

from benchmarks import _zero_shot, ablations
from benchmarks._measures import MEASUREMENTS
from benchmarks._runs import RunError, Variant, flags
from gdino_lightning import cli
from gdino_lightning.data.scenes import WorldDataModule
from gdino_lightning.evaluation import open_world
from gdino_lightning.model.nano.weights import pretrained_nano
from gdino_lightning.model.pretrained import load_pretrained

SMALL = ["--num_scenes=2", "--short_side=120"]
PARTS = ("fusion", "text_guided_queries", "text_cross_attention", "sub_sentence")


@pytest.fixture
def run(tmp_path):
    def run_(measure: str, *arguments: str) -> int:
        return ablations.main([f"--measure={measure}", *SMALL, f"--runs={tmp_path / measure}", *arguments])

    return run_


@pytest.fixture
def asked(monkeypatch):
    """What detectors are asked: (parts that are off, seeds of the worlds, split), once for each pass over scenes."""
    calls, drawn = [], []
    ask = open_world.ask_scene

    def note_scene(seed, index, split, size, num_absent):
        drawn.append((seed, split, size, num_absent))
        return ask(seed, index, split, size, num_absent)

    def answer(detector, tokenizer, questions):
        drawn.clear()
        assert len(list(questions)) == 2
        ((seed, split, size, num_absent),) = set(drawn)
        assert (size, num_absent) == ((120, 120), 20)
        calls.append(([part for part in PARTS if not getattr(detector.switches, part)], seed, split))
        return []

    monkeypatch.setattr(open_world, "ask_scene", note_scene)
    monkeypatch.setattr(open_world, "answer", answer)
    return calls


@pytest.fixture
def trainings(monkeypatch):
    """Verb and arguments of every training; each of them fails."""
    calls = []

    def gdino(verb, arguments, folder):
        calls.append((verb, dict(arguments)))
        raise RunError("pretrain ended with exit code 3", 3)

    monkeypatch.setattr(_zero_shot, "gdino", gdino)
    return calls


def rows(printed: str, name: str) -> list[list[str]]:
    """Cells of the rows of that name, of all tables."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()]
    return [row for row in table if row[0] == name]


def test_the_columns_are_the_scores_of_the_world():
    names = list(open_world.score_world([], 0.35))
    assert _zero_shot.metrics_of("seen") == [f"seen/{name}" for name in names]


def test_pretrained_weights_score_as_the_program_says(run, capsys):
    assert cli.main(["world", "--weights", "nano", "--num_images=2", "--size=120"]) == 0
    *_, seen, unseen = capsys.readouterr().out.strip().splitlines()
    assert run("inference", "--variants=all on", "--seeds=0") == 0
    found = rows(capsys.readouterr().out, "all on")
    for line, row in zip((seen, unseen), found, strict=True):
        theirs = [float(cell) for cell in line.strip("|").split("|")[2:]]
        assert [float(cell) for cell in row[2:-1]] == theirs


def test_each_row_lacks_one_part_and_shares_the_scenes_of_its_seed(run, asked):
    assert run("inference", "--seeds=0,4") == 0
    off = [[], *([part] for part in PARTS)]
    assert asked == [(parts, world, split) for world in (1, 5) for parts in off for split in ("seen", "unseen")]


def test_without_guided_queries_boxes_start_from_anchors_that_are_the_same_every_time(monkeypatch, run):
    anchors = []

    def answer(detector, tokenizer, questions):
        anchors.append(detector.model.model.reference_points.weight.detach().sigmoid())
        return []

    monkeypatch.setattr(open_world, "answer", answer)
    switched = Variant("text_guided_queries off", "text_guided_queries", False)
    measurement = MEASUREMENTS["inference"]
    for seed in (0, 1):
        settings = measurement.kind(weights="nano", num_scenes=1, short_side=120)
        _zero_shot.switch_and_ask(switched, seed, None, settings=settings, defaults=measurement.defaults())
    assert len(anchors) == 4
    assert all(torch.equal(each, anchors[0]) for each in anchors)
    centres = anchors[0][:, :2]
    assert len(centres) == pretrained_nano().config.num_queries
    assert all(0.35 < float(mean) < 0.65 for mean in centres.mean(0))


def test_only_parts_can_be_switched_off_without_training(run, capsys):
    assert run("inference", "--variants=denoising_queries 100") == 2
    assert "no key denoising_queries" in capsys.readouterr().err


def test_rows_of_a_seed_are_trained_alike_but_for_one_key(run, trainings):
    for variant in ("all on", "sub_sentence off"):
        for seed in ("0", "2"):
            assert run("zero-shot", f"--variants={variant}", f"--seeds={seed}", "--num_images=16") == 3
    (_, first), (_, other_seed), (verb, changed), _ = trainings
    assert verb == "pretrain"
    assert {key: changed[key] for key in changed.keys() - first.keys()} == {"model.sub_sentence": False}
    assert {key for key in first if first[key] != changed[key]} == {"run"}
    differing = {key: other_seed[key] for key in first if first[key] != other_seed[key]}
    assert differing == {"run": other_seed["run"], "seed_everything": 2, "data.seed": 3}
    assert first["model.weights"] == "nano"


def test_pictures_are_as_large_as_in_pretraining_and_new(run, trainings):
    assert run("zero-shot", "--short_side=160") == 3
    configured = yaml.safe_load(_zero_shot.CONFIG.read_text())
    ((_, given),) = trainings
    for key in ("short_side", "long_side_max", "train_short_sides"):
        assert given[f"data.{key}"] == configured["data"][key]
    assert given["data.seed"] != configured["seed_everything"] == WorldDataModule().hparams["seed"]


def test_a_choice_of_training_is_compared_with_that_of_pretraining():
    defaults = MEASUREMENTS["zero-shot"].defaults()
    changed = {variant.key: variant.keys(defaults)[variant.key] for variant in ablations.VARIANTS[1:]}
    configured = yaml.safe_load(_zero_shot.CONFIG.read_text())["model"]
    assert changed["look_forward_twice"] is not configured["look_forward_twice"]
    assert changed["denoising_queries"] != configured["denoising_queries"]
    assert changed["fusion"] is False


def test_rows_are_the_parts_unless_others_are_named(run, asked, trainings):
    assert run("zero-shot", "--variants=denoising_queries 100", "--seeds=0") == 3
    assert trainings[0][1]["model.denoising_queries"] == 100
    assert run("inference", "--seeds=0") == 0
    assert len(asked) == 2 * (1 + len(PARTS))


def test_folders_of_another_measurement_are_refused(run, asked, trainings, tmp_path, capsys):
    run("inference", "--seeds=0", "--variants=all on")
    assert run("zero-shot", f"--runs={tmp_path / 'inference'}") == 2
    assert "another measurement" in capsys.readouterr().err
    assert run("inference", "--num_scenes=3") == 2
    assert "choose another --runs" in capsys.readouterr().err
    assert trainings == []


def test_each_measure_has_options_of_its_own(capsys):
    def helped(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            ablations.main([*arguments, "--help"])
        assert stop.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    assert "--epochs" in helped()
    assert "--num_scenes" not in helped("--measure", "fine-tuning")
    assert "--learning_rate" in helped("--measure", "zero-shot")
    assert "runs/ablations-inference" in helped("--measure=inference")
    with pytest.raises(SystemExit):
        ablations.main(["--measure=guess"])
    assert "zero-shot" in capsys.readouterr().err


@pytest.mark.slow
def test_a_part_is_really_trained_without_and_asked_without(run, monkeypatch, tmp_path, capsys):
    """As typed, but in this process: two others would take a quarter of a minute to start."""

    def in_this_process(verb, arguments, folder):
        assert cli.main([verb, *flags(arguments)]) == 0

    monkeypatch.setattr(_zero_shot, "gdino", in_this_process)
    variants = "--variants=all on,text_guided_queries off"
    assert run("zero-shot", variants, "--seeds=0", "--num_images=8") == 0
    printed = capsys.readouterr().out
    for name in ("all on", "text_guided_queries off"):
        assert all(len(row) == 10 for row in rows(printed, name)[::2])  # name, seeds, 7 scores, minutes
        folder = tmp_path / "zero-shot" / name.replace(" ", "-") / "seed-0"
        result = json.loads((folder / "result.json").read_text())
        assert result["model"]["text_guided_queries"] is (name == "all on")
        assert list(result["scores"]) == [*_zero_shot.metrics_of("seen"), *_zero_shot.metrics_of("unseen")]
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["best.ckpt"]
        trained = load_pretrained(folder / "checkpoints" / "best.ckpt").model
        assert hasattr(trained.model, "reference_points") is (name != "all on")
        moved = [
            not torch.equal(weight, trained.state_dict()[key]) for key, weight in pretrained_nano().named_parameters()
        ]
        assert sum(moved) > 0.9 * len(moved)
    assert run("zero-shot", variants, "--seeds=0", "--num_images=8", "--report") == 0
    assert capsys.readouterr().out in printed
