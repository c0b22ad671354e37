"""Weights of words: the signs of each rule by hand, and what they do to the states by the equations."""

import math
import time
from itertools import pairwise
from random import Random

import pytest
import torch
from tests import tiny_encoder
from torch import Tensor

from scorefield.prompt import a1111, comfy, compel
from scorefield.prompt.inversion import Learned
from scorefield.prompt.pieces import Part
from scorefield.prompt.rules import Rules, Weighting
from scorefield.prompt.weighting import RULES

ALL: tuple[Weighting, ...] = ("none", "a1111", "comfy", "compel")
TOKENIZER, CONDITIONER = tiny_encoder.TOKENIZER, tiny_encoder.conditioner()

A1111 = {
    "normal text": [("normal text", 1)],
    "an (important) word": [("an ", 1), ("important", 1.1), (" word", 1)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\] \\ \x": [(r"(literal] \ x", 1)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a [b [c]] d": [("a ", 1), ("b ", 1 / 1.1), ("c", 1 / 1.21), (" d", 1)],
    "[(a:2)]": [("a", 2 / 1.1)],
    "(a [b) c]": [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)],
    "a) b] (c: 1.5 ) :1.3)": [("a) b] ", 1), ("c", 1.5), (" :1.3)", 1)],
    "(a:-0.5)(b:.5)(c:)": [("a", -0.5), ("b", 0.5), ("c:", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
        ("sky", 1.4641), (".", 1.1),
    ],
    "": [("", 1)],
}  # fmt: skip
COMFY = {
    "normal text": [("normal text", 1)],
    "an (important) word": [("an ", 1), ("important", 1.1), (" word", 1)],
    "(a (b:1.5) c:1.2) [d]": [("a ", 1.2), ("b", 1.5), (" c", 1.2), (" [d]", 1)],
    "((a))": [("a", 1.21)],
    "(a (b:1.5))": [("a ", 1.1), ("b", 1.5)],
    r"\(a\) (b\):0.5)": [("(a) ", 1), ("b)", 0.5)],
    "(unbalanced": [("(unbalanced", 1)],
    "a) (b)": [("a) (b)", 1)],
    "(:1.3)(a:x)(16:9)": [(":1.3 a:x", 1.1), ("16", 9)],
    "(a)(b)": [("a b", 1.1)],
    "()": [("", 1)],
}
COMPEL = {
    "normal text": [("normal text", 1)],
    "a red++ ball--": [("a", 1), ("red", 1.21), ("ball", 0.81)],
    "(a phrase)1.3 and (another)-": [("a phrase", 1.3), ("and", 1), ("another", 0.9)],
    '"a phrase"++ (b)2 (c).5': [("a phrase", 1.21), ("b", 2), ("c", 0.5)],
    "(a (b)1.5 c+)1.2": [("a", 1.2), ("b", 1.8), ("c", 1.32)],
    "well-known a+b 1-2": [("well-known a+b 1-2", 1)],
    "red+,blue": [("red", 1.1), (", blue", 1)],
    "(plain) and (unclosed": [("plain and (unclosed", 1)],
    r"a \(b\) C\+\+": [("a (b) C++", 1)],
    "(a = b)1.5": [("(a = b)1.5", 1)],
    "red +": [("red +", 1)],
    "a b)": [("a b)", 1)],
    "": [("", 1)],
}


def _refusal(rule: Weighting, prompt: str) -> str | None:
    try:
        RULES[rule].parse(prompt)
    except ValueError as error:
        return str(error)
    return None


def same(found: list[Part], expected: list[tuple[str, float]]) -> None:
    (part,) = found
    assert [(text.strip(), weight) for text, weight in part] == [
        (text.strip(), pytest.approx(weight)) for text, weight in expected
    ]


@pytest.mark.parametrize("prompt", A1111)
def test_the_signs_of_a1111(prompt: str) -> None:
    (part,) = a1111.parse(prompt)
    assert [(text, pytest.approx(weight)) for text, weight in part] == A1111[prompt]


@pytest.mark.parametrize("prompt", COMFY)
def test_the_signs_of_comfyui(prompt: str) -> None:
    same(comfy.parse(prompt), COMFY[prompt])


@pytest.mark.parametrize("prompt", COMPEL)
def test_the_signs_of_compel(prompt: str) -> None:
    same(compel.parse(prompt), COMPEL[prompt])


def test_without_a_rule_signs_are_letters() -> None:
    assert RULES["none"].parse("(a:1.3) [b] c++") == [[("(a:1.3) [b] c++", 1)]]


def test_break_divides_an_a1111_prompt_wherever_it_is_a_word() -> None:
    assert a1111.parse("a BREAK b\nBREAK\nBREAKFAST") == [[("a", 1)], [("b", 1)], [("BREAKFAST", 1)]]
    assert a1111.parse("(a BREAK b:1.5) c") == [[("a", 1.5)], [("b", 1.5), (" c", 1)]]
    assert a1111.parse("BREAK a") == [[("", 1)], [("a", 1)]]
    assert all(len(RULES[rule].parse("a BREAK b")) == 1 for rule in ALL if rule != "a1111")


def test_neighbours_differ_in_weight() -> None:
    for parse, prompts in ((a1111.parse, A1111), (comfy.parse, COMFY), (compel.parse, COMPEL)):
        for prompt in prompts:
            assert all(a.weight != b.weight for part in parse(prompt) for a, b in pairwise(part))


@pytest.mark.parametrize("prompt", ["(" * 41 + "a" + ")" * 41, "[" * 4000, "(a" * 5000])
def test_brackets_in_too_many_brackets_are_one_line(prompt: str) -> None:
    told = "brackets in the prompt are nested more than 40 deep; write a weight instead"
    refused = {rule: _refusal(rule, prompt) for rule in ALL}
    assert set(refused.values()) <= {None, told}
    assert refused["a1111"] == told
    assert refused["none"] is None


@pytest.mark.parametrize("prompt", ["(a:1e9)", "(a:999)", "(a)999"])
def test_a_weight_that_is_too_much_is_one_line(prompt: str) -> None:
    rule: Weighting = "compel" if ":" not in prompt else "comfy"
    with pytest.raises(ValueError, match=r"^a weight of (1e\+09|999) is too large: weights lie between -100 and 100$"):
        RULES[rule].parse(prompt)


def test_no_prompt_of_10000_letters_takes_long_to_read() -> None:
    for prompt in ("(a:1.1) " * 1250, "( " * 40 + "a " * 4900, "a+ " * 3000, '"(' * 5000, ")(" * 5000, ":1.1)" * 2000):
        for rule in ALL[1:]:
            _refusal(rule, prompt)


def tokens(prompt: str, weighting: Weighting) -> Tensor:
    cond = CONDITIONER([prompt], Rules(weighting=weighting, long_prompt="chunks"))
    assert cond.tokens is not None
    assert cond.tokens.isfinite().all()
    return cond.tokens[0]


def states(ids: list[int], hidden: range = range(0)) -> Tensor:
    """The states (77, D) of a start, these ids, an end and padding; nobody sees the hidden ones."""
    row = torch.tensor([[49406, *ids, *[49407] * (76 - len(ids))]])
    mask = torch.tensor([[k not in hidden for k in range(77)]]) if hidden else None
    return CONDITIONER.encoder.condition(row, mask)[0][0]


def ids(text: str) -> list[int]:
    return [token.id for token in TOKENIZER.split(text)]


RED, CAR = ids("a big red"), ids("a big red car in the snow")
EMPTY = states([])


def test_a1111_multiplies_the_states_and_restores_their_mean() -> None:
    expected = states(CAR)
    before = expected.mean()
    expected[2:4] *= 1.3  # start, a, then: big red
    expected[4] *= 1 / 1.1
    expected *= before / expected.mean()
    torch.testing.assert_close(tokens("a (big red:1.3) [car] in the snow", "a1111"), expected)


def test_comfyui_moves_the_states_away_from_the_empty_prompt() -> None:
    expected, weights = states(CAR), {2: 1.3, 3: 1.3, 4: 1.1, 7: 0.5}
    for k, weight in weights.items():
        expected[k] = EMPTY[k] + weight * (expected[k] - EMPTY[k])
    torch.testing.assert_close(tokens("a (big red:1.3) (car) in the (snow:.5)", "comfy"), expected)


def test_compel_moves_them_likewise_and_less_is_towards_the_prompt_without_the_phrase() -> None:
    def away(read: Tensor, weights: dict[int, float]) -> Tensor:
        return torch.stack([EMPTY[k] + weights.get(k, 1) * (read[k] - EMPTY[k]) for k in range(77)])

    up = {2: 1.21, 3: 1.21}
    torch.testing.assert_close(tokens("a (big red)++ car in the snow", "compel"), away(states(CAR), up))
    both = up | {4: 0.81, 6: 0.5, 7: 0.5}
    shares = [1, math.tan((1 - 0.81) * math.pi / 2), math.tan(math.pi / 4)]
    read = [states(CAR), states(CAR, range(4, 5)), states(CAR, range(6, 8))]
    expected = sum(share * away(one, both) for share, one in zip(shares, read, strict=True)) / sum(shares)
    torch.testing.assert_close(tokens("a (big red)++ car-- in (the snow)0.5", "compel"), expected)


def test_a_phrase_of_weight_0_is_gone_under_compel() -> None:
    gone = tokens("a (big red)0.0 car in the snow", "compel")
    hidden = states(CAR, range(2, 4))
    others = [*range(2), *range(4, 77)]
    torch.testing.assert_close(gone[others], hidden[others], rtol=0, atol=1e-3)  # 1 part in 64,000 is left


@pytest.mark.parametrize("weighting", ALL)
def test_a_prompt_without_signs_is_that_of_the_encoder_alone(weighting: Weighting) -> None:
    assert torch.equal(tokens("a big red car in the snow", weighting), states(CAR))
    assert torch.equal(tokens("", weighting), EMPTY)


@pytest.mark.parametrize("weighting", ALL[1:])
def test_a_weight_changes_the_condition_and_more_of_it_changes_it_more(weighting: Weighting) -> None:
    signs = {"compel": ("(red){}", "1.2", "1.5")}.get(weighting, ("(red:{})", "1.2", "1.5"))
    plain, some, more = (tokens(f"a {red} car", weighting) for red in ("red", *(signs[0].format(w) for w in signs[1:])))
    assert 0.1 < (some - plain).norm() < (more - plain).norm() - 0.1


@pytest.mark.parametrize("weighting", ALL[1:])
def test_learned_words_are_weighed_with_all_their_vectors(weighting: Weighting) -> None:
    source = torch.Generator().manual_seed(3)
    learned = Learned(token="<toy>", vectors=torch.randn(3, 16, generator=source))
    taught = CONDITIONER.with_learned([learned])
    rules = Rules(weighting=weighting)
    sign = "(<toy>)1.5" if weighting == "compel" else "(<toy>:1.5)"
    plain, more = (taught([f"a {one} car"], rules).tokens for one in ("<toy>", sign))
    assert plain is not None
    assert more is not None
    assert taught.counts([f"a {sign} car"], rules)[0].tokens == 5
    change = (more - plain).abs().amax(-1)[0]
    assert change[2:5].min() > 0.1
    if weighting != "a1111":  # which scales the whole back
        assert change[:2].max() == change[5:].max() == 0


@pytest.mark.parametrize(
    ("weighting", "prompt", "told"),
    [
        ("a1111", "a [cat:dog:0.5] AND a [b|c|d] <lora:x:1> [e::3] [f]",
         ["[cat:dog:0.5]", "AND", "[b|c|d]", "<lora:x:1>", "[e::3]"]),
        ("a1111", "sand, (red:1.3) [a: b] RAND", []),
        ("comfy", "embedding:easy, {a|b} (c:1.2)", ["embedding:easy,", "{a|b}"]),
        ("compel", '("a", "b").blend(1, 1) (c).swap(d) withLora(x, 1)', [".blend(1, 1)", ".swap(d)", "withLora(x, 1)"]),
        ("none", "a (red:1.3) car (16:9)", ["(red:1.3)", "(16:9)"]),
        ("none", "a (red) [car] c++ [a|b]", []),
    ],
)  # fmt: skip
def test_signs_that_mean_more_elsewhere_are_named(weighting: Weighting, prompt: str, told: list[str]) -> None:
    assert CONDITIONER.unread([prompt], Rules(weighting=weighting)) == told


STAY = {  # what each program would read and we do not, and the pieces around it
    "a1111": {
        "a [cat:dog:0.5]": [("a [cat:dog:0.5]", 1)],
        "[a|(b:1.1)]": [("[a|(b:1.1)]", 1)],
        "[[cat:dog:0.5]:bird:.7]": [("[[cat:dog:0.5]:bird:.7]", 1)],
        "([cat|dog]:1.3) [x]": [("[cat|dog]", 1.3), (" ", 1), ("x", 1 / 1.1)],
        "[rain, [sun:12] and (fog)]": [("rain, [sun:12] and ", 1 / 1.1), ("fog", 1)],
        "[:hat: -0.25 ]": [("[:hat: -0.25 ]", 1)],
        r"[cat\:dog\|fish]": [("cat:dog|fish", 1 / 1.1)],
        r"\[cat:dog:0.5]": [("[cat:dog:0.5]", 1)],
        "[a (b:c) d]": [("a ", 1 / 1.1), ("b:c", 1), (" d", 1 / 1.1)],
        "[a (b|c] d)": [("a ", 1 / 1.1), ("b|c", 1), (" d", 1.1)],
        "<lora:a_(b):0.8> (c)": [("<lora:a_(b):0.8> ", 1), ("c", 1.1)],
        "[cat BREAK dog:3]": [("[cat BREAK dog:3]", 1)],
    },
    "comfy": {
        "{a|(b:1.3)} (c:1.2)": [("{a|(b:1.3)}", 1), ("c", 1.2)],
        "({red|{dark|light} blue} hat:1.5)": [("{red|{dark|light} blue} hat", 1.5)],
        "{(a:1.2)}": [("{ a }", 1)],
    },
    "compel": {
        '("a++", "b").blend(0.7, 0.3)': [("a", 1.21), (", b .blend(0.7, 0.3)", 1)],
        "(c).swap((d)1.5) e+": [("c .swap((d)1.5)", 1), ("e", 1.1)],
        "fog withLora(x-y, 0.5)": [("fog withLora(x-y, 0.5)", 1)],
    },
}  # fmt: skip


@pytest.mark.parametrize(("rule", "prompt"), [(rule, prompt) for rule, prompts in STAY.items() for prompt in prompts])
def test_an_unread_sign_stays_as_it_is_written(rule: Weighting, prompt: str) -> None:
    parts = RULES[rule].parse(prompt)
    expected = STAY[rule][prompt]
    if prompt == "{(a:1.2)}":  # braces without a choice are letters
        assert RULES[rule].unread(prompt) == []
        assert [weight for _, weight in parts[0]] == [1, 1.2, 1]
        return
    same(parts, expected)


@pytest.mark.parametrize("rule", ALL)
def test_what_is_named_as_unread_is_in_the_text_that_is_read(rule: Weighting) -> None:
    """The list of unread signs and the parser share one grammar: nothing named is lost, nothing lost is not named."""
    random = Random(5)
    bits = [
        "cat",
        "AND",
        "BREAK",
        ".swap(",
        "<lora:",
        ">",
        "0.5",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "\\",
        ",",
        " ",
        "|",
        ":",
        "(a:1)",
        "{a|b}",
    ]
    named = 0
    for _ in range(3000):
        prompt = "".join(random.choices(bits, k=random.randint(1, 14)))
        texts = [piece.text for part in RULES[rule].parse(prompt) for piece in part]
        for sign in RULES[rule].unread(prompt):
            named += 1
            assert any(sign in text for text in texts), prompt
    assert named > 50


HOSTILE = {
    **{
        f"{bit!r} again and again": bit
        for bit in ["(", ")", "[", "{|", "9", '"', "[a:", "<lora:", ".swap(", "(a:1", "BREAK"]
    },
    **{f"{bit!r} again and again": bit for bit in (" ", "a, ", "(a = b)")},
    "digits behind a colon": "(:9",
    "spaces behind a colon": "(: ",
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("rule", ALL)
def test_a_prompt_of_100_kilobytes_takes_no_longer_than_its_length_explains(rule: Weighting, case: str) -> None:
    bit = HOSTILE[case]
    prompt = bit * (100_000 // len(bit)) if "behind" not in case else bit[:-1] + bit[-1] * 100_000
    start = time.process_time()
    _refusal(rule, prompt)
    RULES[rule].unread(prompt)
    assert time.process_time() - start < 10  # what grows with the square of the length takes minutes


def test_signs_that_weigh_too_much_are_refused_however_many() -> None:
    for rule, prompt in (("compel", "a" + "+" * 5000), ("a1111", f"((a:0):{'9' * 400})"), ("comfy", "(a:1e999)")):
        assert "too large" in (_refusal(rule, prompt) or "")
