import pytest
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor

from gdino_lightning.cli.monitors import check_monitor
from gdino_lightning.errors import ConfigError

LOSSES = ["val/loss", "train/loss_ce", "val/over/false_positives/cat", "val/working/ece_raw"]
SCORES = ["val/map", "val/map/cat", "val/mar_100", "val/working/f1_mean", "val/reference/map"]


@pytest.mark.parametrize(("names", "mode", "other"), [(LOSSES, "min", "max"), (SCORES, "max", "min")])
def test_the_better_end_of_a_score_is_known(names, mode, other):
    for name in names:
        check_monitor(EarlyStopping(monitor=name, mode=mode), names)
        with pytest.raises(ConfigError, match=f"EarlyStopping: mode is {other}, .* set mode: {mode}"):
            check_monitor(EarlyStopping(monitor=name, mode=other), names)


def test_what_has_no_better_end_or_watches_nothing_passes():
    for mode in ("min", "max"):
        check_monitor(EarlyStopping(monitor="val/over/boxes_per_object", mode=mode), ["val/over/boxes_per_object"])
    check_monitor(LearningRateMonitor(), [])


def test_a_monitor_that_is_never_logged_is_refused():
    with pytest.raises(ConfigError, match="monitor 'val/mapp' is never logged; known: val/map"):
        check_monitor(EarlyStopping(monitor="val/mapp"), ["val/map"])
