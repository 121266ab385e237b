"""Fully sharded training (FSDP): each process keeps its share of weights, gradients and optimizer state.

It is torch's `fully_shard`, on GPUs and CPUs. Lightning's own `FSDPStrategy` wraps with the older
`FullyShardedDataParallel`; it needs CUDA, cannot clip gradients by their norm, and writes checkpoints of its own kind.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from gdino_lightning.errors import ConfigError
from gdino_lightning.model.detector import GroundingDetector

_OTHERS = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class ShardedStrategy(DDPStrategy):
    """Trains a `GroundingDinoModule` on weights that are shared out; evaluates outside of a fit with whole ones.

    Blocks of the backbone and the sub-layers of the encoder are gathered one at a time where they are computed, all
    other weights for a whole step. A text encoder that does not learn stays whole everywhere, as not every process
    needs it in every step. Checkpoints hold whole weights and optimizer state, as those of one process do, so a run can
    be resumed with another number of processes and without sharding.
    """

    def setup(self, trainer: Trainer) -> None:
        """Refuse averaged weights, which would be a whole second copy, then set up as for DDP.

        Raises:
            ConfigError: A callback averages weights.
        """
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
        if averaging := next((each for each in callbacks if isinstance(each, WeightAveraging)), None):
            raise ConfigError(
                f"trainer.strategy is fsdp: {type(averaging).__name__} needs whole weights; take it out of "
                "trainer.callbacks, or use --trainer.strategy ddp"
            )
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Share out the weights of the first process, where DDP would copy them."""
        module: Any = self.model
        for tensor in [*module.parameters(), *module.buffers()]:
            distributed.broadcast(tensor.detach(), 0)
        shard(module.detector)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights, on the first process; nothing on others, which all take part."""
        return self._kept(super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state, numbered as without sharding, on the first process; all take part."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        return {**state, "state": {index: self._kept(each) for index, each in state["state"].items()}}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Share out the whole state of a checkpoint."""
        saved = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        super().load_optimizer_state_dict({"optimizer_states": [_shared_out(*each) for each in saved]})

    def _kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        whole = ((name, _whole(value)) for name, value in values.items())  # one at a time
        return {name: value for name, value in whole if self.is_global_zero}


def chosen_strategy(strategy: str | Strategy) -> str | Strategy:
    """Return what `trainer.strategy` means: `fsdp` is our own, all else Lightning's.

    Raises:
        ConfigError: It is another sharded strategy, which would write checkpoints that nothing here reads.
    """
    if strategy == "fsdp":
        return ShardedStrategy()
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name.startswith(("fsdp", "deepspeed")) or isinstance(strategy, _OTHERS):
        raise ConfigError(f"trainer.strategy is {name}: to share out the weights, use fsdp; else ddp")
    return strategy


def shard(detector: GroundingDetector) -> None:
    """Share out the weights of a detector among all processes, in place."""
    core = detector.model.model
    swin = core.backbone.conv_encoder.model.swin
    units: list[nn.Module] = [block for stage in swin.encoder.layers for block in stage.blocks]
    for layer in core.encoder.layers:
        units += [layer.fusion_layer, layer.text_enhancer_layer, layer.deformable_layer]
    for unit in units:
        fully_shard(unit)
    text = set(core.text_backbone.parameters())
    learns = any(weight.requires_grad for weight in text)
    fully_shard(detector, ignored_params=None if learns else text)
    for method in ("encode_image", "ground"):  # evaluation calls these in place of `forward`
        register_fsdp_forward_method(detector, method)


def _whole(value: Any) -> Any:
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _shared_out(optimizer: Optimizer, saved: Mapping[str, Any]) -> dict[str, Any]:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = {
        index: {name: _share(value, weights[index]) for name, value in each.items()}
        for index, each in saved["state"].items()
    }
    return {**saved, "state": state}


def _share(value: Any, weight: Tensor) -> Any:
    if not isinstance(weight, DTensor) or not isinstance(value, Tensor) or value.shape != weight.shape:
        return value
    return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
