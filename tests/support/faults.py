"""A callback that breaks one process of a run; the program is given it by its path."""

import os
import signal
import time

import torch
from lightning.pytorch import Callback


class Fault(Callback):
    """Breaks process `rank` before training batch `step`.

    `kill` -9, `nan` in its weights, or `stuck`: it waits, as for a device, and notices nothing; `term` asks it to end.
    """

    def __init__(self, how: str, rank: int = 1, step: int = 1) -> None:
        super().__init__()
        self.how, self.rank, self.step = how, rank, step

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if trainer.global_rank == self.rank and batch_idx == self.step:
            getattr(self, f"_{self.how}")(module)

    def _kill(self, module) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _term(self, module) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def _nan(self, module) -> None:
        with torch.no_grad():
            module.detector.model.model.level_embed.fill_(float("nan"))

    def _stuck(self, module) -> None:
        time.sleep(600)
