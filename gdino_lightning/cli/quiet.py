"""Silence what a user can do nothing about; everything else that libraries say is shown."""

import logging
import warnings


def quiet() -> None:
    """Drop Lightning's advertisements and three warnings that are meant for us; may be called again."""
    # logger_connector.py and callback_connector.py of lightning 2.6.6 recommend other products at every start
    chatty = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if _no_tips not in chatty.filters:
        chatty.addFilter(_no_tips)
    # lightning 2.6.6 checks for torch's LeafSpec in a way that torch 2.13 deprecates (utilities/_pytree.py)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    # what is frozen is held in evaluation mode
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    # the module has the words, so it and not the data module decides what a batch is asked for
    warnings.filterwarnings("ignore", message=r"You have overridden `on_before_batch_transfer` in `LightningModule`")


def _no_tips(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
