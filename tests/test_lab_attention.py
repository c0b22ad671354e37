"""The experiment on attention: looking changes nothing, and each number is what made-up maps say that it is."""

from itertools import islice

import pytest
import torch
from tests import legible
from torch import Tensor

from scorefield.evals.judge import Found, Seen
from scorefield.lab.experiment import LabError
from scorefield.lab.pictures import attention, embedded

LONG = "a watercolour background left of a red puppy wearing a hat, in the snow above a small blue butterfly"


def seen(*things: str, x: float = 64, y: float = 64) -> Seen:
    """What a judge says who finds these things, all in one spot."""
    return Seen(tuple(Found(thing, x, y, 0.9, None, None) for thing in things), "grey")


def test_looking_changes_no_bit_of_the_walk_and_every_word_is_heard() -> None:
    cond, at = embedded.words(["a dog left of a tree", "a cat"]), embedded.levels(3)
    maps: list[Tensor] = []
    looked = embedded.end(embedded.walk(attention.listening(cond, maps), embedded.start([5, 6]), at))
    assert torch.equal(looked, embedded.end(embedded.walk(embedded.guided(cond), embedded.start([5, 6]), at)))
    heard = torch.stack(maps)
    assert heard.shape == (3, 2, 32, 8, 8)
    assert (heard.sum(2) < 1).all()  # the rest is listened to other patches
    assert heard[:, 0, :8].min() > 0
    assert heard[:, 1, 4:].abs().max() == 0  # padding


def test_a_patch_is_inside_if_its_middle_is() -> None:
    (middle,), (corner,) = seen("dog").found, seen("dog", x=4, y=100).found
    near = torch.zeros(8, 8, dtype=torch.bool)
    near[2:6, 2:6] = True
    assert torch.equal(attention.inside(middle, 8, 8), near)
    near = torch.zeros(8, 4, dtype=torch.bool)
    near[4:8, :1] = True
    assert torch.equal(attention.inside(corner, 8, 4), near)


def test_contrast_is_the_ratio_of_attention_inside_to_outside() -> None:
    (found,) = seen("dog").found
    near = attention.inside(found, 8, 8)
    maps = torch.stack([torch.ones(8, 8), torch.where(near, 3.0, 0.5), torch.where(near, 0.0, 2.0)])
    assert attention.contrast(maps, found).tolist() == [1, 6, 0]


def test_a_picture_is_lit_where_its_map_is_high() -> None:
    pictures = torch.full((2, 3, 16, 16), 200, dtype=torch.uint8)
    maps = torch.zeros(2, 2, 2)
    maps[0] = 0.01
    maps[1, 0, 0] = 7
    whole, spot = attention.lit(pictures, maps)
    assert torch.equal(whole, pictures[0])
    assert spot[:, 0, 0].tolist() == [200] * 3
    assert spot[:, -1, -1].tolist() == [200 * attention.DARK] * 3
    assert (spot[0, 0].int().diff() <= 0).all()


def judge(pictures: Tensor) -> list[Seen]:
    """Finds what the experiment asked for: a thing alone in the middle, the first of two at the left."""
    pairs = [Seen(seen(a, x=30).found + seen(b, x=98).found, "grey") for a, _, b in attention.PAIRS]
    return [seen(), *(seen(thing) for thing, _ in attention.SINGLES), *pairs]


@pytest.mark.parametrize("gain", [5.0, 0.2])
def test_words_are_attended_to_at_their_things_or_the_claim_is_refuted(
    monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    """Made-up maps, 1 everywhere but where a thing of that word is found: there each has the gain."""

    def walked(prompts: list[str], settings: attention.AttentionSettings, watch: object) -> attention.Walked:
        found, maps = judge(torch.empty(0)), torch.ones(4, len(prompts), 32, 8, 8)
        for k, (prompt, one) in enumerate(zip(prompts, found, strict=True)):
            for thing in one.found:
                maps[:, k, 1 + prompt.split().index(thing.thing), attention.inside(thing, 8, 8)] = gain
        return attention.Walked(torch.zeros(4, 3, 128, 128, dtype=torch.uint8), maps, found)

    monkeypatch.setattr(attention, "_walk", walked)
    numbers = attention.attention().numbers
    assert numbers["thing_word_at_the_thing_over_elsewhere"] == pytest.approx(gain)
    assert numbers["thing_word_at_the_thing_at_the_first_step"] == pytest.approx(gain)
    assert numbers["place_word_at_the_thing_over_elsewhere"] == 1
    assert numbers["share_of_words_in_pairs_most_at_their_thing"] == (gain > 1)
    assert (numbers["things_alone_found"], numbers["things_in_pairs_found"]) == (8, 8)


def test_attention_is_drawn_for_as_many_words_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "look", judge)
    monkeypatch.setattr(attention, "SINGLES", attention.SINGLES[:1])
    monkeypatch.setattr(attention, "PAIRS", attention.PAIRS[:1])
    outcome = attention.attention(steps=4, prompt=LONG)
    assert {one.number for one in attention.attention.criteria} <= set(outcome.numbers)
    assert legible.faults(outcome.figure) == []
    assert outcome.result.maps.shape == (4, len(LONG.replace(",", " ,").split()), 8, 8)
    assert outcome.result.predictions.shape == (4, 3, 128, 128)
    above = outcome.figure.axes[0]
    assert [text.get_text() for text in above.get_xticklabels()][:3] == ["prediction", "a", "watercolour"]
    assert len(above.get_xticks()) == 1 + attention.WORDS
    animation = outcome.animation()
    assert animation is not None
    (frame,) = islice(animation.frames, 1)
    assert frame.width == 800


def test_without_a_thing_there_is_no_place_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, pictures = torch.ones(4, 13, 32, 8, 8), torch.zeros(4, 3, 128, 128, dtype=torch.uint8)
    monkeypatch.setattr(attention, "_walk", lambda *_: attention.Walked(pictures, maps, [seen("gift")] * 13))
    with pytest.raises(LabError, match="the model drew none of the things"):
        attention.attention()
