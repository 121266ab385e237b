"""LoRA adapters in files of their own."""

from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer

from gdino_lightning.model.lora import ADAPTER_SUFFIX, Lora, save_adapter
from gdino_lightning.model.pretrained import STATE_PREFIX
from gdino_lightning.training.callbacks.ema import averaged_state


class AdapterFiles(Callback):
    """Writes checkpoints/epoch-NN.adapter.safetensors at the end of every epoch; the module attaches it.

    Some megabytes each, so all stay. `model.weights` takes them where the weights that the run began with are at hand.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the adapters that validation has seen."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside the class
            return
        state = averaged_state(trainer) or trainer.strategy.lightning_module_state_dict()  # shared out: all take part
        if not trainer.is_global_zero:
            return
        own = {name.removeprefix(STATE_PREFIX): tensor for name, tensor in state.items()}
        path = Path(trainer.default_root_dir) / "checkpoints" / f"epoch-{trainer.current_epoch:02d}{ADAPTER_SUFFIX}"
        save_adapter(own, cast(Lora, pl_module.lora), cast(str, pl_module.base), path)
