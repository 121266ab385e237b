"""Signals: a run ends between two steps, loses nothing, says how to go on, and goes on to the bit."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loops import _EvaluationLoop
from same_runs import assert_same_run
from verb_runs import Done, failure, fit_arguments

from gdino_lightning.cli import main
from gdino_lightning.training.module import GroundingDinoModule

RUN = Path("runs/sample")
LAST = RUN / "checkpoints" / "last.ckpt"
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGUSR1: 143}


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The handlers that the tests were started with; a suite in the background ignores Ctrl-C, under nohup SIGHUP."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(
    monkeypatch: pytest.MonkeyPatch, *numbers: int, epoch: int = 0, batch: int = 0, stage: str = "training"
) -> None:
    """Let this process get signals in a batch of training or of validation (stage `validation`)."""
    step = getattr(GroundingDinoModule, f"{stage}_step")

    def step_and_send(module: GroundingDinoModule, asked: object, index: int) -> object:
        if (module.current_epoch, index) == (epoch, batch) and not module.trainer.sanity_checking:
            for number in numbers:
                os.kill(os.getpid(), number)
        return step(module, asked, index)

    monkeypatch.setattr(GroundingDinoModule, f"{stage}_step", step_and_send)


def last_line(capfd: pytest.CaptureFixture[str]) -> str:
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    return captured.out.splitlines()[-1]


@pytest.mark.parametrize(("number", "code"), SIGNALS.items(), ids=[each.name for each in SIGNALS])
def test_a_signal_ends_a_fit_after_the_step_with_its_code_and_the_way_to_go_on(
    drawn, tmp_path, monkeypatch, capfd, number, code
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        send(patched, number, batch=1)
        assert main(fit_arguments(drawn)) == code
    captured = capfd.readouterr()
    said = "interrupted" if number == signal.SIGINT else f"terminated by {number.name}"
    resume = f"resume with: gdino fit --ckpt_path {LAST}"
    assert captured.out.splitlines()[-1] == f"{said} in epoch 0, after 2 steps, of which none are lost; {resume}"
    assert f"{number.name}: ending at the next batch boundary" in captured.err
    assert "Traceback" not in captured.err
    saved = torch.load(LAST, weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epoch", "batch", "stage", "workers"),
    [(0, 0, "training", 0), (1, 1, "training", 2), (0, 0, "validation", 0)],
    ids=["in the first step", "in the second epoch, with workers", "in a validation"],
)
def test_a_run_that_goes_on_equals_one_that_was_never_ended_to_the_bit(
    fitted, drawn, tmp_path, monkeypatch, capfd, epoch, batch, stage, workers
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        send(patched, signal.SIGTERM, epoch=epoch, batch=batch, stage=stage)
        assert main([*fit_arguments(drawn), f"--data.num_workers={workers}"]) == 143
    assert "of which none are lost" in last_line(capfd)
    assert main(["fit", f"--ckpt_path={LAST}"]) == 0
    assert_same_run(RUN, fitted.run)


def test_a_second_interrupt_ends_at_once_and_counts_what_is_lost(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    send(monkeypatch, signal.SIGINT, signal.SIGINT, epoch=1, batch=1)
    assert main(fit_arguments(drawn)) == 130
    (line,) = [each for each in capfd.readouterr().out.splitlines() if each.startswith("interrupted")]
    assert line.startswith("interrupted in epoch 1, after ")
    assert line.endswith(f"of which 1 is lost; resume with: gdino fit --ckpt_path {LAST}")


def test_a_signal_before_the_first_step_leaves_nothing_to_resume(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = _EvaluationLoop.run

    def run_and_send(loop: _EvaluationLoop) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return run(loop)

    monkeypatch.setattr(_EvaluationLoop, "run", run_and_send)
    assert main(fit_arguments(drawn)) == 143
    said = "terminated by SIGTERM after 0 steps; no epoch was finished, so there is nothing to resume"
    assert last_line(capfd) == said
    assert not LAST.exists()


def test_a_run_with_nothing_left_to_train_goes_on_to_its_end(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    send(monkeypatch, signal.SIGTERM, epoch=1, stage="validation")
    assert main(fit_arguments(drawn)) == 0
    assert last_line(capfd).startswith("next: gdino test")
    assert (RUN / "report" / "report.html").exists()


def test_a_fit_ends_where_no_gradient_is_pending(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    send(monkeypatch, signal.SIGTERM, batch=0)
    assert main([*fit_arguments(drawn), "--trainer.accumulate_grad_batches=2"]) == 143
    saved = torch.load(LAST, weights_only=True)
    assert saved["global_step"] == 1
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"] == 2


def test_within_an_epoch_a_run_goes_on_with_the_same_batches_only(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        send(patched, signal.SIGTERM)
        assert main(fit_arguments(drawn)) == 143
    capfd.readouterr()
    message = failure(capfd, "fit", f"--ckpt_path={LAST}", "--data.batch_size=2")
    assert (
        "saved within an epoch, after 1 batches, and goes on with the same batches only (batch_size: 4 -> 2)" in message
    )


def test_test_ends_at_once(copied: Done, monkeypatch, capfd):
    send(monkeypatch, signal.SIGTERM, epoch=0, stage="test")
    with contextlib.chdir(copied.home):
        assert main(["test", "--ckpt_path=best"]) == 143
    assert "terminated by SIGTERM" in "".join(capfd.readouterr())


def test_other_verbs_end_with_the_code_and_a_line(tmp_path, monkeypatch, capfd):
    from gdino_lightning.cli import sample_verb

    monkeypatch.setattr(sample_verb, "run_sample", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["sample", "--root", str(tmp_path / "x")]) == 143
    assert capfd.readouterr().err == "gdino: terminated by SIGTERM\n"
    assert signal.getsignal(signal.SIGTERM) == before
