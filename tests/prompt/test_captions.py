import pytest
import torch

from gdino_lightning.errors import PromptError
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Caption, build_caption_prompt

TOKENIZER = nano_tokenizer()
TEXT = "a man in a red coat behind two glasses"


def caption(text, *parts):
    """Mark the first place where each part stands; a tuple of parts is one phrase."""
    groups = [part if isinstance(part, tuple) else (part,) for part in parts]
    return Caption(text, tuple(tuple((text.index(p), text.index(p) + len(p)) for p in group) for group in groups))


def words(prompt, row):
    return [TOKENIZER.id_to_token(i) for i in prompt.input_ids[prompt.phrase_map[row]].tolist()]


def test_phrases_are_spans_inside_one_sentence():
    prompt = build_caption_prompt(caption(TEXT, "a man", "a red coat", "two glasses"), TOKENIZER)
    assert prompt.phrases == ("a man", "a red coat", "two glasses")
    assert [words(prompt, row) for row in range(3)] == [["a", "man"], ["a", "red", "coat"], ["two", "glasses"]]
    assert prompt.input_ids.tolist() == TOKENIZER.encode(f"{TEXT} .").ids
    inner = torch.arange(1, 11)  # nine words and the stop that was added see one another
    wanted = torch.eye(12, dtype=torch.bool)
    wanted[inner[:, None], inner] = True
    assert torch.equal(prompt.self_attention_mask, wanted)
    assert prompt.position_ids.tolist() == [0, *range(10), 0]
    assert prompt.word_mask.tolist() == [False, *[True] * 9, False, False]


def test_sentences_do_not_see_one_another():
    prompt = build_caption_prompt(caption("A red car. Is it new? Two glasses!", "red car", "Two glasses"), TOKENIZER)
    assert prompt.input_ids.tolist() == TOKENIZER.encode("A red car. Is it new? Two glasses!").ids
    lengths = [len(block) for block in prompt.blocks]
    assert lengths == [1, 4, 4, 3, 1]
    assert [words(prompt, row) for row in range(2)] == [["red", "car"], ["two", "glasses"]]
    assert prompt.self_attention_mask.sum().item() == 1 + 16 + 16 + 9 + 1


def test_a_stop_inside_a_phrase_or_a_number_ends_no_sentence():
    whole = build_caption_prompt(caption("The St. Bernard is 3.5 m long", "St. Bernard"), TOKENIZER)
    assert len(whole.blocks) == 3
    assert words(whole, 0) == TOKENIZER.encode("St. Bernard", add_special_tokens=False).tokens
    cut = build_caption_prompt(caption("The St. Bernard is 3.5 m long", "Bernard"), TOKENIZER)
    assert len(cut.blocks) == 4  # nothing marks the name as one: its stop is taken for an end


def test_a_phrase_may_stand_in_several_places_and_phrases_may_overlap():
    prompt = build_caption_prompt(caption(TEXT, ("man", "coat"), "red coat"), TOKENIZER)
    assert prompt.phrases == ("man coat", "red coat")
    assert [words(prompt, row) for row in range(2)] == [["man", "coat"], ["red", "coat"]]


def test_a_span_within_a_word_takes_the_whole_piece():
    prompt = build_caption_prompt(Caption("two glasses", (((4, 7),),)), TOKENIZER)
    assert words(prompt, 0) == ["glasses"]


def test_a_caption_that_ends_with_a_question_gets_no_second_stop():
    assert build_caption_prompt(caption("where is the dog?", "dog"), TOKENIZER).input_ids[-2:].tolist() == [1029, 102]


@pytest.mark.parametrize(
    ("text", "spans", "named"),
    [
        ("  ", (((0, 1),),), "text is empty"),
        (TEXT, (), "at least one"),
        (TEXT, ((),), "at least one"),
        (TEXT, (((0, 5),), ((30, 99),)), r"span \(30, 99\) marks no word of its 38 characters"),
        (TEXT, (((5, 5),),), r"\(5, 5\)"),
        (TEXT, (((1, 2),),), r"\(1, 2\)"),
        (TEXT, (((-2, 2),),), r"\(-2, 2\)"),
        (TEXT, (((0, 5),), ((0, 5),)), "'a man' at .* is given twice"),
    ],
)
def test_unusable_captions_are_named(text, spans, named):
    with pytest.raises(PromptError, match=named):
        Caption(text, spans)


def test_a_caption_too_long_or_unknown_is_named():
    with pytest.raises(PromptError, match="12 tokens, a prompt holds 11"):
        build_caption_prompt(caption(TEXT, "a man"), TOKENIZER, max_tokens=11)
    with pytest.raises(PromptError, match="no word of '日本'"):
        build_caption_prompt(caption("a man in 日本", "日本"), TOKENIZER)


def test_a_stop_that_a_phrase_covers_is_one_of_its_words():
    prompt = build_caption_prompt(caption("a dog in Main St.", "Main St."), TOKENIZER)
    assert words(prompt, 0)[-1] == "."
    assert prompt.word_mask[prompt.phrase_map[0]].all()
