"""The miniature's own WordPiece tokenizer: any wording in an alphabet it knows encodes without unknown words.

Some 600 English words are pieces of their own; whatever else is written in Latin, Greek, Cyrillic, Hebrew, Arabic,
Devanagari, Thai, Kana or Hangul letters is spelled. Ideographs are not known, except the digits among them.

transformers recognises [PAD], [CLS], [SEP], "." and "?" by the ids they have in `bert-base-uncased` (0, 101, 102, 1012
and 1029), so the pieces are laid out to give them exactly those. Printable ASCII from "!" to "z" lies in one run, as
in that vocabulary; words and word endings fill the places around it.
"""

from functools import cache
from importlib.resources import files

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = 0, 100, 101, 102, 103
NUM_ENGLISH = 1063  # ids of English pieces, the free ones between them included; other scripts fill those, then go on
ASCII_START = 999  # the id of "!"; "." and "?" follow from it as 1012 and 1029
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
# Letters of other scripts as (first, last) code points.
_SCRIPTS = (
    *((ord(letter), ord(letter)) for letter in "ßæðøþđħıłŋœ"),
    (0x3B1, 0x3C9),  # Greek
    (0x430, 0x45F),  # Cyrillic
    (0x5D0, 0x5EA),  # Hebrew
    (0x621, 0x64A),  # Arabic
    *((code, code) for code in (0x67E, 0x686, 0x698, 0x6A9, 0x6AF, 0x6CC)),  # Persian
    (0x905, 0x94C),  # Devanagari
    (0xE01, 0xE46),  # Thai
    (0x3041, 0x3093),  # Hiragana
    (0x30A1, 0x30FC),  # Katakana
    *((0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)),  # Hangul, which the normalizer takes apart
)


@cache
def vocabulary() -> dict[str, int]:
    """Return piece -> id. Ids without a piece of their own hold `[unusedN]`, as in the vocabulary of BERT."""
    taken = {"[PAD]": PAD_ID, "[UNK]": UNK_ID, "[CLS]": CLS_ID, "[SEP]": SEP_ID, "[MASK]": MASK_ID}
    symbols = [chr(code) for code in range(ord("!"), ord("z") + 1) if not chr(code).isupper()]
    taken |= {symbol: ASCII_START + index for index, symbol in enumerate(symbols)}
    endings = [f"##{piece}" for piece in (*_LETTERS, *_DIGITS)]
    words = files(__package__).joinpath("words.txt").read_text(encoding="utf-8").split()
    rest = dict.fromkeys((*"{|}~", *endings, *words, *_other_scripts()))
    used = set(taken.values())
    free = (index for index in range(MASK_ID + 1, len(rest) + len(taken) + MASK_ID + 1) if index not in used)
    taken |= {piece: next(free) for piece in rest if piece not in taken}
    by_id = {index: piece for piece, index in taken.items()}
    return {by_id.get(index, f"[unused{index}]"): index for index in range(max(by_id) + 1)}


def nano_tokenizer() -> Tokenizer:
    """Build the tokenizer: lower case, accents stripped, `[CLS] ... [SEP]` added."""
    tokenizer = Tokenizer(WordPiece(vocabulary(), unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP_ID), ("[CLS]", CLS_ID))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _normalizer() -> normalizers.Normalizer:
    return normalizers.BertNormalizer(lowercase=True, strip_accents=True)


def _other_scripts() -> list[str]:
    """Return the letters that the normalizer leaves as they are, each as the start of a word and within one."""
    letters = [chr(code) for first, last in _SCRIPTS for code in range(first, last + 1)]
    kept = [letter for letter in letters if letter.isalnum() and _normalizer().normalize_str(letter) == letter]
    kept += [chr(code) for code in range(0x93E, 0x94D) if _normalizer().normalize_str(chr(code)) == chr(code)]
    return [piece for letter in kept for piece in (letter, f"##{letter}")]
