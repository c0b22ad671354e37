"""The text conditioner: prompts to tokens and a mask."""

import pytest
import torch

from scorefield.core.cond import cat
from scorefield.nets.clip import Clip, ClipConfig, TextConfig, VisionConfig
from scorefield.prompt.text import TextConditioner
from scorefield.prompt.tokenizer import WordTokenizer, build

VISION = VisionConfig(width=8, layers=1, heads=2, patch_size=8, image_size=16)


def _clip(tokens: int) -> Clip:
    torch.manual_seed(0)
    return Clip(ClipConfig(vision=VISION, text=TextConfig(width=16, layers=1, heads=2, vocab_size=tokens), embed_dim=8))


def _tokenizer() -> WordTokenizer:
    return build(["a", "tree", "car"])


def _conditioner() -> TextConditioner:
    tokenizer = _tokenizer()
    return TextConditioner(tokenizer, _clip(len(tokenizer)))


def test_a_prompt_becomes_the_hidden_states_of_its_tokens() -> None:
    conditioner = _conditioner()
    cond = conditioner(["a tree", ""])
    assert set(cond.tensors()) == {"tokens", "mask"}
    assert cond.tokens is not None
    assert cond.mask is not None
    assert cond.tokens.isfinite().all()
    assert cond.tokens.shape == (2, 32, 16)
    assert not cond.tokens.requires_grad
    assert cond.mask.sum(1).tolist() == [4, 2]
    expected = conditioner.clip.text_hidden(*conditioner.tokenizer.encode(["a tree", ""]))
    assert torch.equal(cond.tokens, expected)


def test_conditions_of_several_calls_join() -> None:
    conditioner = _conditioner()
    joined = cat([conditioner(["a tree"]), conditioner([""])])
    both = conditioner(["a tree", ""])
    assert joined.tokens is not None
    assert both.tokens is not None
    torch.testing.assert_close(joined.tokens, both.tokens)


def test_unknown_words_of_all_prompts_are_named_once() -> None:
    assert _conditioner().unknown(["a cat", "a tre", "cat"]) == {"cat": ["car"], "tre": ["tree"]}


def test_a_prompt_that_is_too_long_is_refused_before_any_work() -> None:
    conditioner = _conditioner()
    assert [count.tokens for count in conditioner.counts(["a tree", "tree " * 30])] == [2, 30]
    with pytest.raises(ValueError, match="31 words"):
        conditioner.counts(["a tree", "tree " * 31])


def test_a_tokenizer_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="the tokenizer knows 7 tokens, the text encoder 9"):
        TextConditioner(_tokenizer(), _clip(9))
