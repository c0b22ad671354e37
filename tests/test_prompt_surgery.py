"""Surgery on the vectors of tokens."""

import pytest
import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.nets.clip import Clip, ClipConfig, TextConfig, VisionConfig
from scorefield.prompt import surgery
from scorefield.prompt.text import TextConditioner
from scorefield.prompt.tokenizer import build

VISION = VisionConfig(width=8, layers=1, heads=2, patch_size=8, image_size=16)
PROMPT = "a big dog in snow"


def _conditioner() -> TextConditioner:
    tokenizer = build(["a", "big", "cat", "dog", "in", "snow"])
    torch.manual_seed(0)
    text = TextConfig(width=16, layers=2, heads=2, vocab_size=len(tokenizer))
    return TextConditioner(tokenizer, Clip(ClipConfig(vision=VISION, text=text, embed_dim=8)).eval())


def _tokens(cond: Cond) -> Tensor:
    assert cond.tokens is not None
    assert cond.tokens.isfinite().all()
    return cond.tokens


def _operated(vector: Tensor, prompt: str = PROMPT) -> Tensor:
    conditioner = _conditioner()
    opened = surgery.opened(conditioner, [prompt])
    return _tokens(surgery.closed(conditioner, surgery.replaced(conditioner, opened, "dog", vector)))


def test_prompts_that_are_opened_and_closed_are_as_before() -> None:
    conditioner, prompts = _conditioner(), [PROMPT, "a cat"]
    cond = surgery.closed(conditioner, surgery.opened(conditioner, prompts))
    assert torch.equal(_tokens(cond), _tokens(conditioner(prompts)))
    assert cond.mask is not None
    assert cond.mask.sum(1).tolist() == [7, 4]


def test_a_replaced_word_is_the_other_word_written() -> None:
    conditioner = _conditioner()
    got = _operated(surgery.mean(conditioner, {"cat": 1.0}))
    assert torch.equal(got, _tokens(conditioner(["a big cat in snow"])))
    assert not torch.equal(got, _tokens(conditioner([PROMPT])))


def test_only_what_follows_the_word_changes() -> None:
    """Start, a, big stand before it; padding is hidden but is computed, and follows too."""
    change = (_operated(torch.ones(16)) - _tokens(_conditioner()([PROMPT]))).abs().amax(-1)[0]
    assert change[:3].max() <= 1e-6
    assert change[3:7].min() > 1e-3


def test_it_is_replaced_wherever_it_occurs() -> None:
    conditioner = _conditioner()
    got = _operated(surgery.mean(conditioner, {"cat": 1.0}), "a dog in a dog")
    assert torch.equal(got, _tokens(conditioner(["a cat in a cat"])))


def test_the_mean_of_words_lies_between_them_by_their_weights() -> None:
    conditioner = _conditioner()
    table = conditioner.clip.text.tokens.weight.detach()
    cat, dog = (table[conditioner.tokenizer.vocabulary[word]] for word in ("cat", "dog"))
    torch.testing.assert_close(surgery.mean(conditioner, {"cat": 3, "dog": 1}), 0.75 * cat[None] + 0.25 * dog[None])
    assert torch.equal(surgery.mean(conditioner, {"Cat": 2.0}), cat[None])


def test_the_original_keeps_its_vectors() -> None:
    conditioner = _conditioner()
    opened = surgery.opened(conditioner, [PROMPT])
    before = opened.vectors.clone()
    surgery.replaced(conditioner, opened, "dog", torch.ones(16))
    assert torch.equal(opened.vectors, before)


@pytest.mark.parametrize("name", ["wolf", "big dog", "", "<end>"])
def test_what_is_not_one_known_word_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="not one word of the vocabulary"):
        surgery.mean(_conditioner(), {name: 1.0})


def test_a_prompt_without_the_word_and_weights_without_a_sum_are_errors() -> None:
    conditioner = _conditioner()
    opened = surgery.opened(conditioner, [PROMPT, "a cat"])
    with pytest.raises(ValueError, match="'dog' is not in every prompt"):
        surgery.replaced(conditioner, opened, "dog", torch.ones(16))
    with pytest.raises(ValueError, match="weights of cat, dog sum to 0"):
        surgery.mean(conditioner, {"cat": 1.0, "dog": -1.0})


def test_conditions_are_mixed_on_a_straight_line() -> None:
    conditioner = _conditioner()
    cat, dog = (conditioner([f"a {name} in snow"]) for name in ("cat", "dog"))
    mixed = surgery.between(cat, dog, torch.tensor([0.0, 0.5, 1.0]))
    assert mixed.mask is not None
    assert mixed.mask.sum(1).tolist() == [6, 6, 6]
    expected = torch.cat([_tokens(cat), (_tokens(cat) + _tokens(dog)) / 2, _tokens(dog)])
    torch.testing.assert_close(_tokens(mixed), expected)
    assert torch.equal(_tokens(mixed)[:1], _tokens(cat))
    with pytest.raises(ValueError, match="equally many words"):
        surgery.between(cat, conditioner(["a cat"]), torch.tensor([0.5]))
