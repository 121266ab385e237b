"""The miniature's own WordPiece tokenizer: some 1,600 pieces, any English wording encodes without unknown words.

transformers recognises [PAD], [CLS], [SEP], "." and "?" by the ids they have in `bert-base-uncased` (0, 101, 102, 1012
and 1029), so the pieces are laid out to give them exactly those. Printable ASCII from "!" to "z" lies in one run, as
in that vocabulary; words and word endings fill the places around it.
"""

from functools import cache
from importlib.resources import files

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = 0, 100, 101, 102, 103
ASCII_START = 999  # the id of "!"; "." and "?" follow from it as 1012 and 1029
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


@cache
def vocabulary() -> dict[str, int]:
    """Return piece -> id. Ids without a piece of their own hold `[unusedN]`, as in the vocabulary of BERT."""
    taken = {"[PAD]": PAD_ID, "[UNK]": UNK_ID, "[CLS]": CLS_ID, "[SEP]": SEP_ID, "[MASK]": MASK_ID}
    symbols = [chr(code) for code in range(ord("!"), ord("z") + 1) if not chr(code).isupper()]
    taken |= {symbol: ASCII_START + index for index, symbol in enumerate(symbols)}
    endings = [f"##{piece}" for piece in (*_LETTERS, *_DIGITS)]
    words = files(__package__).joinpath("words.txt").read_text(encoding="utf-8").split()
    rest = dict.fromkeys((*"{|}~", *endings, *words))
    used = set(taken.values())
    free = (index for index in range(MASK_ID + 1, len(rest) + len(taken) + MASK_ID + 1) if index not in used)
    taken |= {piece: next(free) for piece in rest if piece not in taken}
    by_id = {index: piece for piece, index in taken.items()}
    return {by_id.get(index, f"[unused{index}]"): index for index in range(max(by_id) + 1)}


def nano_tokenizer() -> Tokenizer:
    """Build the tokenizer: lower case, accents stripped, `[CLS] ... [SEP]` added."""
    tokenizer = Tokenizer(WordPiece(vocabulary(), unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP_ID), ("[CLS]", CLS_ID))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
