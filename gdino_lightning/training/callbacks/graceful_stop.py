"""A fit that a signal asks to end does so between two batches, where everything can be saved."""

import os
import signal
from contextlib import ExitStack
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gdino_lightning.signals import ENDINGS, handling


class GracefulStop(Callback):
    """Answers Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 (the usual warning of SLURM) at the next batch boundary.

    Within an epoch that is after the optimizer's next step: Lightning ends the fit there, and `EpochCheckpoints` saves
    `last.ckpt` with the place in the epoch. In a validation it is after the end of the epoch, whose checkpoint is
    written anyway. A run that has nothing left to train goes on to its end. A second Ctrl-C ends at once. One signal on
    one rank is enough, and ends all ranks after the same batch.

    Lightning 2.6 answers SIGTERM by a broadcast within the handler, which waits for ever if other ranks got none. Its
    flag for the end of a batch, which this sets, is private; the tests of this file hold what it does.

    Attributes:
        asked: The first signal that came; None before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: signal.Signals | None = None
        self._handlers = ExitStack()
        self._speaks = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer signals from here on, when there is something to save; go on within an epoch that was ended so."""
        # Lightning gives loaders their state when it makes them, which is before it reads a checkpoint's loops if a
        # schedule asks how many steps there will be
        trainer.fit_loop._load_combined_loader_states()
        self._speaks = trainer.is_global_zero
        self._handlers.enter_context(handling(self._handle, ENDINGS))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the fit here if it was asked for, and no gradient and no validation is pending."""
        number = batch_idx + 1
        validates = trainer.val_check_batch is not None and number % trainer.val_check_batch == 0
        if number % trainer.accumulate_grad_batches == 0 and not (validates or trainer.is_last_batch):
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the fit after this epoch if it was asked for and there is another one."""
        is_over = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not is_over:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer signals as before the fit."""
        self._handlers.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Answer signals as before the fit."""
        self._handlers.close()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(number)
            self._say()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def _say(self) -> None:
        if self._speaks:  # written past the buffers: they may be in use where the signal came
            text = f"\n{signal.Signals(self.asked or 0).name}: ending at the next batch boundary; Ctrl-C ends at once\n"
            os.write(2, text.encode())

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            trainer._signal_connector.received_sigterm = True
