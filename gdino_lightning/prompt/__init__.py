"""Words to tensors: class names or captions -> phrases -> blocks of tokens -> prompts, maps and masks.

A prompt for the phrases "with mask" and "no mask" is the caption `with mask . no mask .`. Its tokens are
`[CLS] with mask . no mask . [SEP]`. A phrase and its delimiter form one block (in a free caption: a sentence does);
blocks do not see one another in the text encoder and positions restart in each (Grounding DINO, section 3.4,
"sub-sentence level text feature"), so a phrase means the same whatever its neighbours are. Which token belongs to
which phrase follows from character spans and the tokenizer's own offsets, never from looking for "." tokens: a phrase
may hold one. So a block is the unit of text: tokenized once, encoded once, shuffled, sampled and packed at will.

Pure tensors: nothing here knows the model. Letters: B prompts, T text tokens, P phrases, C classes.
"""

from gdino_lightning.prompt.batch import PromptBatch
from gdino_lightning.prompt.blocks import MAX_TOKENS, Block, Prompt
from gdino_lightning.prompt.captions import Caption, build_caption_prompt
from gdino_lightning.prompt.phrases import class_phrases, name_to_phrase
from gdino_lightning.prompt.vocabulary import Vocabulary, build_prompt

__all__ = [
    "MAX_TOKENS",
    "Block",
    "Caption",
    "Prompt",
    "PromptBatch",
    "Vocabulary",
    "build_caption_prompt",
    "build_prompt",
    "class_phrases",
    "name_to_phrase",
]
