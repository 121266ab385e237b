"""The tokenizer of a file of weights, which does not hold one."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizer

from gdino_lightning.errors import CheckpointError, reason_of
from gdino_lightning.model.hub import cached_folder, unreachable

BERT = "google-bert/bert-base-uncased"  # the text encoder of all published weights
BERT_ALIAS = "bert-base-uncased"  # what the cache calls it where older programs filled it
BERT_WORDS = 30522


def find_tokenizer(path: Path, words: int) -> Tokenizer:
    """Find the words of a file of weights: beside it, else BERT's, from the cache or the hub.

    Args:
        path: The file. A `tokenizer.json` or `vocab.txt` in its folder, or in a folder `bert-base-uncased` there, is
            its tokenizer.
        words: Rows of its word embeddings.

    Raises:
        CheckpointError: If no tokenizer is found, or one beside the file has more words than the weights.
    """
    for folder in (path.parent, path.parent / BERT_ALIAS):
        if (folder / "tokenizer.json").is_file() or (folder / "vocab.txt").is_file():
            tokenizer = _read(folder)
            if tokenizer.get_vocab_size() != words:
                raise CheckpointError(
                    f"{folder}: its tokenizer has {tokenizer.get_vocab_size():,} words, {path.name} has {words:,}; "
                    "put the tokenizer of these weights there"
                )
            return tokenizer
    beside = f"put its tokenizer.json or vocab.txt beside {path.name}"
    if words != BERT_WORDS:
        raise CheckpointError(f"{path}: the weights know {words:,} words, so their text is not {BERT_ALIAS}; {beside}")
    return _bert(path, beside)


def _bert(path: Path, beside: str) -> Tokenizer:
    for name in (BERT, BERT_ALIAS):
        folder = cached_folder(name)
        if folder and ((folder / "tokenizer.json").is_file() or (folder / "vocab.txt").is_file()):
            return _read(folder)
    if reason := unreachable():
        raise CheckpointError(
            f"{path}: its words are those of {BERT_ALIAS}, which is not in the cache, and the hub did not answer "
            f"({reason}); {beside}"
        )
    try:
        return _plain(AutoTokenizer.from_pretrained(BERT, trust_remote_code=False).backend_tokenizer)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {BERT} cannot be downloaded ({reason_of(error)}); {beside}") from None


def _read(folder: Path) -> Tokenizer:
    """Read `tokenizer.json`, else build BERT's lower-case tokenizer of `vocab.txt`."""
    try:
        if (folder / "tokenizer.json").is_file():
            return _plain(Tokenizer.from_file(str(folder / "tokenizer.json")))
        return _plain(BertTokenizer(str(folder / "vocab.txt")).backend_tokenizer)
    except Exception as error:  # `tokenizers` raises Exception itself
        raise CheckpointError(f"{folder}: the tokenizer there cannot be read ({reason_of(error)})") from None


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
