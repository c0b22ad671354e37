"""Learned words: found before anything is cut, one place a vector, and no trace of them in the model."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from scorefield.nets.clip import Clip, ClipConfig, EncoderConfig, TextConfig, TextEncoder, VisionConfig
from scorefield.prompt import surgery
from scorefield.prompt.bpe import END_ID, ClipTokenizer
from scorefield.prompt.inversion import InversionError, Learned, LearnedTokens, Table
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.rules import Rules
from scorefield.prompt.text import TextConditioner
from scorefield.prompt.tokenizer import build

WIDTH, VOCABULARY = 16, 49408
WORDS = ["a", "cat", "in", "the", "snow", "toy"]
CLEAN = {"plain": None, "openai": lambda prompt: " ".join(prompt.split()).lower()}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learned(token: str = "<cat-toy>", count: int = 1, seed: int = 0) -> Learned:
    return Learned(token=token, vectors=drawn(count, WIDTH, seed=seed))


@pytest.fixture(scope="module")
def published() -> PublishedConditioner:
    text = TextConfig(width=WIDTH, layers=2, heads=2, context_length=77, vocab_size=VOCABULARY, end_id=END_ID)
    return PublishedConditioner(ClipTokenizer.packaged(), TextEncoder(EncoderConfig(text=text)).eval())


@pytest.fixture(scope="module")
def embedded() -> TextConditioner:
    text = TextConfig(width=WIDTH, layers=2, heads=2, vocab_size=4 + len(WORDS), end_id=1)
    vision = VisionConfig(width=16, layers=1, heads=2, patch_size=16, image_size=32)
    return TextConditioner(build(WORDS), Clip(ClipConfig(vision=vision, text=text, embed_dim=8)).eval())


@pytest.fixture(params=["published", "embedded"])
def conditioner(request: pytest.FixtureRequest) -> PublishedConditioner | TextConditioner:
    found: PublishedConditioner | TextConditioner = request.getfixturevalue(request.param)
    return found


def ids(tokenizer: ClipTokenizer, prompt: str) -> list[int]:
    rows, mask = tokenizer.encode([prompt])
    return [int(one) for one in rows[mask][1:-1]]


def test_the_longest_token_is_found_in_any_case() -> None:
    tokens = LearnedTokens({"<Toy>": [1], "<toy>-2": [2, 3], "sks": [4]})
    assert list(tokens.split("a <TOY>-2 and <toy>")) == [
        ("a ", ()), ("<TOY>-2", [2, 3]), (" and ", ()), ("<toy>", [1]), ("", ())
    ]  # fmt: skip


def test_a_token_of_letters_is_a_word_of_its_own() -> None:
    tokens = LearnedTokens({"sks": [4]})
    for prompt in ("tasks", "sksy", "_sks", "sks2"):
        assert list(tokens.split(prompt)) == [(prompt, ())]
    for prompt in ("sks", "(sks:1.2)", "a sks, a dog", "sks's"):
        assert ("sks", [4]) in list(tokens.split(prompt))


def test_letters_that_only_resemble_each_other_in_case_do_no_harm() -> None:
    tokens = LearnedTokens({"<skin>": [4]})
    assert [found for _, found in tokens.split("<\u017fk\u0131n> \u212a")].count([4]) <= 1


@pytest.mark.parametrize("clean", CLEAN)
def test_learned_words_are_found_before_byte_pairs_and_case(clean: str) -> None:
    plain = ClipTokenizer.packaged(clean=CLEAN[clean])
    tokenizer = plain.with_learned({"<Cat-Toy>": [49408, 49409], "easynegative": [49410]})
    around = [*ids(plain, "a photo of a"), 49408, 49409, *ids(plain, "'s bed, in snow")]
    for written in ("<Cat-Toy>", "<cat-toy>", "<CAT-TOY>"):
        assert ids(tokenizer, f"A photo of a {written}'s bed, in snow") == around
    assert ids(tokenizer, "EasyNegative, blurry") == [49410, *ids(plain, ", blurry")]
    assert ids(tokenizer, "easynegatives") == ids(plain, "easynegatives")
    assert ids(plain, "<Cat-Toy>") == ids(tokenizer.with_learned({}), "<Cat-Toy>")


def test_each_vector_takes_a_place(published: PublishedConditioner, embedded: TextConditioner) -> None:
    four = [learned(count=4)]
    assert published.with_learned(four).tokenizer.count("a <cat-toy> in snow") == 3 + 4
    _, mask = embedded.with_learned(four).tokenizer.encode(["a <cat-toy> in snow"])
    assert int(mask.sum()) == 2 + 3 + 4
    with pytest.raises(ValueError, match=r"80 tokens, 5 more .* between 'a <cat-toy> <cat-toy> ' and '<cat-toy> !'"):
        published.with_learned([learned(count=26)]).counts(["a <cat-toy> <cat-toy> <cat-toy> !"])
    with pytest.raises(ValueError, match="at most 30"):
        embedded.with_learned(four).counts(["<cat-toy> " * 8])


def test_the_vectors_stand_in_their_order_where_the_word_is_written(embedded: TextConditioner) -> None:
    word = learned(count=3)
    opened = surgery.opened(embedded.with_learned([word, learned("<other>", 2, seed=1)]), ["a <cat-toy> in the snow"])
    assert torch.equal(opened.vectors[0, 2:5], word.vectors)
    plain = surgery.opened(embedded, ["a in the snow"])
    assert torch.equal(opened.vectors[0, 5:9], plain.vectors[0, 2:6])


def test_a_learned_copy_of_a_word_says_what_the_word_says(conditioner: PublishedConditioner | TextConditioner) -> None:
    row = conditioner.tokenizer.encode(["cat"])[0][0, 1:2]
    copied = Learned(token="<copy>", vectors=conditioner.table(row).detach())
    grown = conditioner.with_learned([copied, learned()])
    said, wanted = grown(["a <Copy> in the snow", "the snow"]), conditioner(["a cat in the snow", "the snow"])
    assert said.tokens is not None
    assert wanted.tokens is not None
    assert wanted.tokens.isfinite().all()
    assert torch.equal(said.tokens, wanted.tokens)
    assert not torch.equal(grown(["a <cat-toy> in the snow"]).tokens, wanted.tokens[:1])


def test_the_conditioner_that_it_was_made_of_stays_as_it_is(
    conditioner: PublishedConditioner | TextConditioner,
) -> None:
    before = conditioner(["a <cat-toy>", "a cat"]).tokens
    count = len(conditioner.tokenizer)
    grown = conditioner.with_learned([learned()])
    assert before is not None
    assert grown is not conditioner
    assert not torch.equal(grown(["a <cat-toy>"]).tokens, before[:1])
    assert torch.equal(conditioner(["a <cat-toy>", "a cat"]).tokens, before)
    assert torch.equal(grown(["a cat"]).tokens, before[1:])
    assert len(conditioner.tokenizer) == count
    assert torch.equal(grown.with_learned([])(["a <cat-toy>"]).tokens, before[:1])


def test_surgery_finds_a_learned_word_whole(conditioner: PublishedConditioner | TextConditioner) -> None:
    word = learned(count=3)
    grown = conditioner.with_learned([word, learned("<other>", 2, seed=1)])
    assert torch.equal(surgery.rows(grown, "<Cat-Toy>"), word.vectors)
    opened = surgery.opened(grown, ["a <cat-toy> <other> in snow"])
    assert surgery.where(grown, opened, "<cat-toy>")[0].nonzero()[:, 0].tolist() == [2, 3, 4]
    assert surgery.where(grown, opened, "snow")[0].nonzero()[:, 0].tolist() == [8]
    for several in ("<cat-toy> <other>", "<cat-toy> in", ""):
        with pytest.raises(ValueError, match="is not one word"):
            surgery.rows(grown, several)


@pytest.mark.parametrize("weighting", ["a1111", "comfy", "compel"])
def test_a_learned_word_is_weighed_and_read_in_chunks_as_any_other(
    published: PublishedConditioner, weighting: Literal["a1111", "comfy", "compel"]
) -> None:
    grown, rules = published.with_learned([learned(count=3)]), Rules(weighting=weighting, long_prompt="chunks")
    written = "a (<cat-toy>)1.3" if weighting == "compel" else "a (<cat-toy>:1.3)"
    plain, weighed, long = (grown([prompt], rules).tokens for prompt in ("a <cat-toy>", written, "<cat-toy>" * 40))
    assert plain is not None
    assert weighed is not None
    assert long is not None
    assert weighed.isfinite().all()
    assert torch.equal(plain, grown(["a <cat-toy>"]).tokens)
    assert (weighed - plain).abs().max() > 1e-3
    assert long.shape[1] == 154
    assert grown.counts(["<cat-toy>" * 40], rules)[0].tokens == 120


def test_a_learned_word_is_known(embedded: TextConditioner) -> None:
    grown = embedded.with_learned([learned("<cat-toy>", 2)])
    assert grown.unknown(["a <cat-toy> in the sno"]) == {"sno": ["snow"]}
    assert "sks" in embedded.unknown(["a <sks>"])
    assert embedded.with_learned([learned("<sks>")]).unknown(["a <sks>"]) == {}


def test_a_gradient_reaches_the_learned_vectors_alone(conditioner: PublishedConditioner | TextConditioner) -> None:
    grown = conditioner.with_learned([learned(count=2)])
    rows, mask = grown.tokenizer.encode(["a <cat-toy>", "a cat"])
    vectors = drawn(2, WIDTH).requires_grad_()
    known = conditioner.encoder.tokens.requires_grad_(False)
    tokens = grown.read(Table(known, vectors)(rows), rows, mask).tokens
    assert tokens is not None
    tokens[0].square().sum().backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
    assert (vectors.grad.norm(dim=1) > 0).all()
    assert known.weight.grad is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([Learned(token="<a>", vectors=drawn(1, 8))], "'<a>' have 8 numbers, those of this model 16: .* another"),
        ([Learned(token="<a>", vectors=drawn(0, 16))], "'<a>' has 0 vectors; a prompt of this model has room for"),
        ([Learned(token="<a>", vectors=drawn(76, 16))], "'<a>' has 76 vectors; a prompt of this model has room for"),
        ([Learned(token="<a>", vectors=drawn(1, 16) / 0)], "the vectors of '<a>' are not finite"),
        ([learned("<a>"), learned("<A>")], "two learned words are called '<A>'; give one another name"),
        ([learned("Cat")], "'Cat' is already a word of this model; give another name, such as <Cat>=PATH"),
        ([learned(" ")], "cannot be called ' '"),
        ([learned("a\nb")], "cannot be called"),
    ],
)
def test_what_cannot_be_taken_is_an_error_of_one_line(
    conditioner: PublishedConditioner | TextConditioner, words: list[Learned], told: str
) -> None:
    with pytest.raises(InversionError, match=told) as caught:
        conditioner.with_learned(words)
    assert "\n" not in str(caught.value)
