import logging
import warnings

from gdino_lightning.cli.quiet import quiet


def test_tips_are_dropped_and_other_messages_stay(caplog):
    quiet()
    quiet()
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    assert len(logger.filters) == 1
    with caplog.at_level(logging.INFO):
        logger.addHandler(caplog.handler)
        logger.info("Tip: buy this")
        logger.info("GPU available: False")
        logger.removeHandler(caplog.handler)
    assert set(caplog.messages) == {"GPU available: False"}


def test_warnings_that_are_meant_for_us_are_dropped():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet()
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", stacklevel=1)
        warnings.warn("You have overridden `on_before_batch_transfer` in `LightningModule` but", stacklevel=1)
        warnings.warn("Found 46 module(s) in eval mode at the start of training.", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(each.message) for each in caught] == ["something else"]
