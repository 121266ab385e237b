"""What the key of the strategy means; tests/several_processes/test_sharded.py trains with it."""

import pytest
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy

from gdino_lightning.errors import ConfigError
from gdino_lightning.training.sharded import ShardedStrategy, chosen_strategy


def test_fsdp_is_our_own_and_others_stay():
    assert isinstance(chosen_strategy("fsdp"), ShardedStrategy)
    ddp = DDPStrategy()
    assert [chosen_strategy(each) for each in ("auto", "ddp", ddp)] == ["auto", "ddp", ddp]


@pytest.mark.parametrize(
    "strategy",
    ["fsdp_cpu_offload", "deepspeed_stage_2", FSDPStrategy(), ModelParallelStrategy()],
    ids=["offload", "DeepSpeed", "Lightning's", "model parallel"],
)
def test_other_sharded_strategies_are_refused_at_once(strategy):
    with pytest.raises(ConfigError, match="to share out the weights, use fsdp"):
        chosen_strategy(strategy)
