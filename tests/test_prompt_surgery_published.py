"""Surgery on the prompts of a published model, whose words are of one byte-pair token or several."""

import functools

import pytest
import torch
import transformers
from tests.networks import read_ours
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.nets.clip import EncoderConfig, TextConfig, TextEncoder
from scorefield.prompt import surgery
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.published import PublishedConditioner
from scorefield.weights.key_maps import clip_keys

TEXT = TextConfig(width=16, layers=2, heads=2, context_length=77, vocab_size=49408, end_id=49407)
PROMPT = "a puppy in the snow"


@functools.cache
def _peer() -> transformers.CLIPTextModel:
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, projection_dim=16
    )
    peer = transformers.CLIPTextModel(config).eval().requires_grad_(False)
    for weight in peer.parameters():
        weight.normal_(std=0.3)
    return peer


@functools.cache
def _conditioner() -> PublishedConditioner:
    encoder = TextEncoder(EncoderConfig(text=TEXT)).eval().requires_grad_(False)
    held = _peer().state_dict()
    inner = "text_model." if any(key.startswith("text_model.") for key in held) else ""
    listed = list(clip_keys.transformers_text(TEXT, projected=False, prefix=inner))
    encoder.load_state_dict(read_ours(encoder.state_dict(), listed, held.__getitem__))
    return PublishedConditioner(ClipTokenizer.packaged(), encoder)


def _tokens(cond: Cond) -> Tensor:
    assert cond.tensors().keys() == {"tokens"}
    assert cond.tokens is not None
    assert cond.tokens.isfinite().all()
    return cond.tokens


def _operated(name: str, vectors: Tensor, prompt: str = PROMPT) -> Tensor:
    conditioner = _conditioner()
    opened = surgery.opened(conditioner, [prompt])
    return _tokens(surgery.closed(conditioner, surgery.replaced(conditioner, opened, name, vectors)))


def test_prompts_that_are_opened_and_closed_are_as_before() -> None:
    conditioner, prompts = _conditioner(), [PROMPT, "", "a hippopotamus"]
    opened = surgery.opened(conditioner, prompts)
    assert opened.vectors.shape == (3, 77, 16)
    assert torch.equal(opened.vectors, conditioner.encoder.tokens.weight[opened.ids])
    assert torch.equal(_tokens(surgery.closed(conditioner, opened)), _tokens(conditioner(prompts)))


def test_a_replaced_word_is_the_other_word_written() -> None:
    got = _operated("puppy", surgery.mean(_conditioner(), {"cat": 1.0}))
    assert torch.equal(got, _tokens(_conditioner()(["a cat in the snow"])))
    assert (got - _tokens(_conditioner()([PROMPT])))[:, 2:].abs().amax(-1).min() > 1e-3
    assert torch.equal(got[:, :2], _tokens(_conditioner()([PROMPT]))[:, :2])  # nothing hears what follows it


def test_a_hybrid_is_what_transformers_makes_of_a_table_with_the_hybrid_in_it() -> None:
    hybrid = surgery.mean(_conditioner(), {"puppy": 0.5, "skunk": 0.5})
    ids = _conditioner().tokenizer.encode([PROMPT])[0]
    assert ids[0, 1:6].tolist() == [320, 6829, 530, 518, 2583]
    table = _peer().get_input_embeddings().weight
    before = table[6829].clone()
    try:
        table[6829] = (before + table[42194]) / 2
        theirs = _peer()(ids)[0]
    finally:
        table[6829] = before
    torch.testing.assert_close(_operated("puppy", hybrid), theirs, rtol=0, atol=1e-5)


def test_a_word_of_several_tokens_is_found_and_replaced_token_by_token() -> None:
    conditioner = _conditioner()
    assert len(conditioner.tokenizer.word("supersonicat")) == 3
    opened = surgery.opened(conditioner, ["a supersonicat, a supersonicat", "supersonicat"])
    at = surgery.where(conditioner, opened, "supersonicat")
    assert at.nonzero().tolist() == [[0, 2], [0, 3], [0, 4], [0, 7], [0, 8], [0, 9], [1, 1], [1, 2], [1, 3]]
    new = torch.arange(3.0)[:, None].expand(3, 16)
    changed = surgery.replaced(conditioner, opened, "supersonicat", new).vectors
    assert changed[0, [2, 3, 4, 7, 8, 9], 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(changed[~at], opened.vectors[~at])
    one = surgery.replaced(conditioner, opened, "supersonicat", torch.ones(16)).vectors
    assert (one[at] == 1).all()


def test_the_end_of_a_longer_word_is_not_that_word() -> None:
    conditioner = _conditioner()
    assert conditioner.tokenizer.word("snowcat")[-1:] == conditioner.tokenizer.word("cat")
    assert surgery.where(conditioner, surgery.opened(conditioner, ["a snowcat, cat"]), "cat")[0].nonzero() == 5
    with pytest.raises(ValueError, match="'cat' is not in every prompt"):
        surgery.where(conditioner, surgery.opened(conditioner, ["a snowcat"]), "cat")


@pytest.mark.parametrize("name", ["big dog", "", "dog,"])
def test_what_is_not_one_word_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="is not one word"):
        surgery.rows(_conditioner(), name)


def test_words_of_different_numbers_of_tokens_have_no_mean_and_do_not_stand_for_each_other() -> None:
    conditioner = _conditioner()
    with pytest.raises(ValueError, match="only words with equally many tokens have a mean; these have: cat 1, superso"):
        surgery.mean(conditioner, {"cat": 1.0, "supersonicat": 1.0})
    with pytest.raises(ValueError, match="'puppy' needs one vector per token, 1 in all, not 3"):
        _operated("puppy", surgery.rows(conditioner, "supersonicat"))


def test_conditions_are_mixed_on_a_straight_line() -> None:
    cat, snake = (_conditioner()([f"a {name}"]) for name in ("cat", "snake on the rocks"))
    mixed = _tokens(surgery.between(cat, snake, torch.tensor([0.25])))
    torch.testing.assert_close(mixed, 0.75 * _tokens(cat) + 0.25 * _tokens(snake))


def test_padding_of_the_second_models_folder_is_no_part_of_a_word() -> None:
    tokenizer = ClipTokenizer.packaged(pad_id=0)
    conditioner = PublishedConditioner(tokenizer, _conditioner().encoder)
    assert surgery.where(conditioner, surgery.opened(conditioner, ["a dog"]), "dog")[0].nonzero().tolist() == [[2]]
