"""Prompts that are too long: in chunks of 75 tokens where each rule ends them, or refused; never cut in silence."""

import pytest
import torch
from tests import tiny_encoder

from scorefield.prompt.chunks import Chunks, chunks
from scorefield.prompt.inversion import Learned
from scorefield.prompt.rules import Count, Rules, Weighting
from scorefield.prompt.weighting import RULES

TOKENIZER, CONDITIONER = tiny_encoder.TOKENIZER, tiny_encoder.conditioner()
START, END = 49406, 49407
ALL: tuple[Weighting, ...] = ("none", "a1111", "comfy", "compel")
LONG = "supercalifragilisticexpialidocious"  # 9 tokens


def divided(prompt: str, weighting: Weighting, learned: tuple[Learned, ...] = ()) -> Chunks:
    rule = RULES[weighting]
    return chunks(CONDITIONER.with_learned(learned).tokenizer, rule.parse(prompt), rule.cut)


def lengths(prompt: str, weighting: Weighting, learned: tuple[Learned, ...] = ()) -> list[int]:
    """The tokens of each chunk, which must begin and end as it should, and hold the prompt's tokens in order."""
    found = divided(prompt, weighting, learned)
    assert found.ids.shape[1] == 77
    assert (found.ids[:, 0] == START).all()
    counts = [int(row[1:].tolist().index(END)) for row in found.ids]
    held = [token for row, count in zip(found.ids.tolist(), counts, strict=True) for token in row[1 : count + 1]]
    tokenizer = CONDITIONER.with_learned(learned).tokenizer
    text = " ".join(piece.text for part in RULES[weighting].parse(prompt) for piece in part)
    assert held == [token.id for token in tokenizer.split(text)]
    assert found.tokens == len(held)
    return counts


@pytest.mark.parametrize("weighting", ALL)
def test_75_tokens_are_one_chunk_and_one_more_is_two(weighting: Weighting) -> None:
    assert lengths("", weighting) == [0]
    assert lengths("cat " * 75, weighting) == [75]
    assert lengths("cat " * 76, weighting) == [75, 1]
    assert lengths("cat " * 151, weighting) == [75, 75, 1]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("cat " * 60 + ", " + "dog " * 30, [61, 30]),  # the comma is 15 tokens before the end
        ("cat " * 55 + ", " + "dog " * 30, [56, 30]),  # 20 before
        ("cat " * 54 + ", " + "dog " * 30, [75, 10]),  # 21: too far back
        ("cat " * 60 + ", " + "dog " * 10 + ", " + "owl " * 20, [72, 20]),  # the last one
        ("cat " * 74 + ", dog", [75, 1]),
        ("cat " * 75 + ", dog", [75, 2]),  # a comma that does not fit calls for no other
        ("cat " * 60 + ", " + "dog " * 14 + ", owl", [75, 2]),
        ("cat " * 60 + ", " + "dog " * 80, [61, 75, 5]),
    ],
)
def test_a1111_goes_back_to_a_comma_of_the_last_20_tokens(prompt: str, expected: list[int]) -> None:
    assert lengths(prompt, "a1111") == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a BREAK b", [1, 1]),
        ("BREAK a BREAK", [0, 1]),
        ("a BREAK BREAK b", [1, 0, 1]),
        ("BREAK", [0]),
        ("cat " * 80 + "BREAK b", [75, 5, 1]),
    ],
)
def test_break_begins_a_chunk_under_a1111(prompt: str, expected: list[int]) -> None:
    assert lengths(prompt, "a1111") == expected


@pytest.mark.parametrize("weighting", ["none", "comfy"])
def test_short_words_are_kept_whole_and_long_ones_are_not(weighting: Weighting) -> None:
    assert lengths("cat " * 73 + "hippopotamus dog", weighting) == [73, 4]
    assert lengths("cat " * 74 + "dog, owl", weighting) == [74, 3]  # what has no space in it is a word
    assert lengths("cat " * 70 + LONG, weighting) == [75, 4]
    assert lengths("x" * 9000, weighting)[0] == 75


def test_compel_ends_chunks_with_sentences_or_phrases_or_words() -> None:
    assert lengths("cat " * 30 + ". " + "dog " * 20 + ", " + "owl " * 40, "compel") == [31, 61]
    assert lengths("cat " * 30 + ", " + "dog " * 20 + "; " + "owl " * 40, "compel") == [52, 40]
    assert lengths("cat " * 73 + "hippopotamus dog", "compel") == [73, 4]
    assert lengths("x" * 9000, "compel")[0] == 75


@pytest.mark.parametrize("weighting", ALL)
def test_a_learned_word_is_never_divided(weighting: Weighting) -> None:
    learned = (Learned(token="<toy>", vectors=torch.ones(10, 16)),)
    assert lengths("cat " * 70 + "<toy> dog", weighting, learned) == [70, 11]
    assert lengths("cat " * 65 + "<toy> dog", weighting, learned) == [75, 1]


def test_weights_and_pieces_stay_with_their_tokens() -> None:
    found = divided("cat " * 73 + "(hippopotamus owl:1.5) BREAK (dog:0.5)", "a1111")
    assert found.weights[0, 73:].tolist() == [1, 1.5, 1.5, 1]
    assert found.weights[1, :5].tolist() == [1, 1.5, 1.5, 1, 1]
    assert found.pieces[0, 72:].tolist() == [0, 0, 1, 1, -1]
    assert found.pieces[1, :5].tolist() == [-1, 1, 1, -1, -1]
    assert found.pieces[2, :3].tolist() == [-1, 2, -1]
    assert found.weights[2, :3].tolist() == [1, 0.5, 1]


@pytest.mark.parametrize("weighting", ALL)
def test_each_chunk_is_read_by_itself_and_they_stand_one_after_another(weighting: Weighting) -> None:
    rules = Rules(weighting=weighting, long_prompt="chunks")
    whole = CONDITIONER(["cat " * 75 + "dog " * 20], rules).tokens
    assert whole is not None
    assert whole.shape == (1, 154, 16)
    each = [CONDITIONER([words], rules).tokens for words in ("cat " * 75, "dog " * 20)]
    torch.testing.assert_close(whole, torch.cat([one for one in each if one is not None], 1))


def test_a_weight_in_one_chunk_leaves_the_others_alone() -> None:
    plain, weighed = (
        CONDITIONER([f"{'cat ' * 75} a {dog}"], Rules(weighting="a1111", long_prompt="chunks")).tokens
        for dog in ("dog", "(dog:1.4)")
    )
    assert plain is not None
    assert weighed is not None
    assert torch.equal(plain[:, :77], weighed[:, :77])
    assert (plain[:, 77:] - weighed[:, 77:]).abs().max() > 0.1


def test_what_is_too_long_is_refused_where_chunks_are() -> None:
    told = r"^the prompt has 80 tokens, 5 more than the 75 that this model reads; it would be cut between"
    for weighting in ALL:
        with pytest.raises(ValueError, match=told):
            CONDITIONER.counts(["tree " * 80], Rules(weighting=weighting))
    with pytest.raises(ValueError, match=told):
        CONDITIONER(["tree " * 80])
    with pytest.raises(ValueError, match="BREAK divides the prompt into chunks: leave BREAK out"):
        CONDITIONER.counts(["a BREAK b"], Rules(weighting="a1111"))


def test_counts_are_of_tokens_without_signs_starts_and_ends() -> None:
    rules = Rules(weighting="a1111", long_prompt="chunks")
    counts = CONDITIONER.counts(["a (red:1.3) car", "", "cat " * 80, "a BREAK b"], rules)
    assert counts == [Count(3, 75, 1), Count(0, 75, 1), Count(80, 75, 2), Count(2, 75, 2)]
    assert [str(count) for count in counts] == [
        "3 of 75", "0 of 75", "80 of 75, read in 2 chunks", "2 of 75, read in 2 chunks",
    ]  # fmt: skip


def test_prompts_of_different_lengths_are_no_batch() -> None:
    with pytest.raises(ValueError, match="read them separately"):
        CONDITIONER(["a cat", "cat " * 80], Rules(long_prompt="chunks"))


def test_a_prompt_is_read_as_if_it_were_alone() -> None:
    prompts = ["a cat", "a red fox", "a cat"]
    together = CONDITIONER(prompts).tokens
    assert together is not None
    for row, prompt in zip(together, prompts, strict=True):
        alone = CONDITIONER([prompt]).tokens
        assert alone is not None
        assert torch.equal(row, alone[0])
