"""The experiments on words: how they are read, changed and seen. None of this asks what the generator drew."""

from collections.abc import Callable

import pytest
import torch
from tests import legible
from torch import Tensor
from torch.nn.functional import normalize

from scorefield.data.scenes import Scene
from scorefield.evals.judge import Found, Seen
from scorefield.lab.experiment import Experiment, LabError, Outcome
from scorefield.lab.pictures import attention, embedded, hat, tokens, word_surgery, zero_shot
from scorefield.nets.clip import TextConfig, TextTransformer

LONG = "a watercolour background left of a red puppy wearing a hat, in the snow above a small blue butterfly"


def holding(outcome: Outcome) -> set[str]:
    """The numbers whose criteria hold, of a run whose figure can be read."""
    assert legible.faults(outcome.figure) == []
    return {one.number for one in outcome.experiment.criteria if one.holds(outcome.numbers)}


def seen(thing: str) -> Seen:
    """What a judge says who finds that thing."""
    return Seen((Found(thing, 64, 64, 0.9, None, None),), "grey")


def test_a_prompt_is_read_without_the_marks_that_the_model_does_not_know() -> None:
    assert embedded.read("A Puppy, in the snow!") == ["a", "puppy", ",", "in", "the", "snow"]


@pytest.mark.parametrize(
    ("prompt", "told"),
    [("", "the prompt has no words"), ("a pupy", "does not know 'pupy'; nearest: puppy"), ("xyzzy!", "know 'xyzzy'$")],
)
@pytest.mark.parametrize("experiment", [tokens.tokens, word_surgery.surgery, attention.attention])
def test_a_prompt_that_cannot_be_read_is_refused(experiment: Experiment, prompt: str, told: str) -> None:
    with pytest.raises(LabError, match=told):
        experiment(prompt=prompt)


@pytest.mark.parametrize(
    ("experiment", "given", "told"),
    [
        (tokens.tokens, {"word": "frog"}, "'frog' is not in every prompt"),
        (tokens.tokens, {"other": "skunky"}, "'skunky' is not one word of the vocabulary"),
        (tokens.tokens, {"other": "palm tree"}, "'palm tree' is not one word"),
        (tokens.tokens, {"prompt": "puppy " * 31}, "the prompt has 31 words and marks"),
        (word_surgery.surgery, {"word": "frog"}, "'frog' is not in every prompt"),
        (word_surgery.surgery, {"instead": "catt"}, "'catt' is not one word of the vocabulary"),
        (word_surgery.surgery, {"mixed": r"\1"}, "is not one word of the vocabulary"),
        (word_surgery.surgery, {"mixed": "puppy"}, "'puppy' cannot be mixed with itself"),
        (attention.attention, {"prompt": "dog " * 31}, "the prompt has 31 words and marks"),
    ],
)
def test_a_word_that_cannot_be_operated_on_is_refused(experiment: Experiment, given: dict[str, str], told: str) -> None:
    with pytest.raises(LabError, match=told):
        experiment(**given)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_stages_made_by_hand_are_the_text_encoders(activation: str) -> None:
    config = TextConfig(width=16, layers=2, heads=4, context_length=9, vocab_size=20)
    encoder = TextTransformer(config, 8, activation).double()
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    ids, mask = torch.tensor([3, 7, 7, 12, 0, 19, 1]), torch.tensor([1, 1, 1, 1, 1, 0, 0]).bool()
    found = tokens.stages(encoder, ids, mask)
    assert list(found) == [tokens.ROWS, tokens.POSITIONS, tokens.SUM, "after block 1", "after block 2", tokens.LAST]
    assert torch.equal(found[tokens.ROWS][1], found[tokens.ROWS][2])
    with torch.no_grad():
        torch.testing.assert_close(found[tokens.LAST], encoder(ids[None], mask[None])[0], atol=1e-10, rtol=0)


def test_a_change_is_measured_in_the_vectors_own_lengths() -> None:
    before = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    after = torch.tensor([[3.0, 4.0], [0.0, 3.0], [-1.0, 0.0]])
    assert tokens.relative(before, after).tolist() == [0, 0.5, 2]


def test_a_word_is_heard_by_what_follows_and_a_stage_left_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = tokens.tokens()
    exact = {one.number for one in tokens.tokens.criteria[:3]}
    assert exact <= holding(outcome)
    for name in (tokens.ROWS, tokens.SUM):
        assert outcome.result.changes[name].nonzero().tolist() == [[2]]  # start, a, puppy
    assert outcome.result.changes[tokens.LAST].count_nonzero() == 10 - 2
    monkeypatch.setattr(tokens, "norm", lambda x, layer: x)
    assert "largest_difference_from_the_conditioner" not in holding(tokens.tokens())


def test_the_tokens_of_a_long_prompt_stay_apart() -> None:
    outcome = tokens.tokens(prompt=LONG)
    assert outcome.numbers["tokens_decoded_wrongly"] == 0
    assert not [fault for fault in legible.faults(outcome.figure) if "points" not in fault]


def test_likeness_is_1_at_its_own_end_and_0_at_the_others_and_linear_between() -> None:
    cosines = torch.tensor([[0.8, 0.1], [0.5, 0.2], [0.2, 0.5]])
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.25], [0.0, 1.0]])
    torch.testing.assert_close(word_surgery.likeness(cosines), expected)
    alike = word_surgery.likeness(torch.tensor([[0.3, 0.1], [0.9, 0.2], [0.3, 0.5]]))
    assert alike[:, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(alike[:, 1], expected[:, 1])


@pytest.mark.parametrize("obedient", [True, False])
def test_surgery_is_judged_by_what_it_puts_in_and_what_it_takes_out(
    monkeypatch: pytest.MonkeyPatch, obedient: bool
) -> None:
    said = iter(["cat", "puppy", "puppy", "panda", "skunk", "skunk"])
    monkeypatch.setattr(embedded, "look", lambda pictures: [seen(next(said) if obedient else "puppy")] * len(pictures))
    outcome = word_surgery.surgery(prompt="A Puppy and a puppy in a meadow", pictures=1, steps=2)
    assert outcome.result.pictures.shape == (1 + len(word_surgery.SHARES), 1, 3, 128, 128)
    assert outcome.result.likeness[:, [0, -1]].tolist() == [[1, 0], [0, 1]]
    held = holding(outcome)
    assert "largest_difference_from_writing_the_word" in held  # at both places where it stands
    assert {"share_that_show_the_word_put_in", "share_that_still_show_the_word_taken_out"} <= held or not obedient
    told = [outcome.numbers[f"share_{name}"] for name in (
        "that_show_the_word_put_in", "that_still_show_the_word_taken_out", "with_the_first_at_0",
        "with_the_second_at_1", "of_hybrids_that_the_judge_calls_something_else",
    )]  # fmt: skip
    assert told == ([1, 0, 1, 1, 1] if obedient else [0, 1, 1, 0, 0])


@pytest.mark.parametrize(("index", "place"), [(0, 4), (1, 1), (2, 2), (3, 2)])
def test_the_rank_of_a_cosine_is_1_for_the_largest(index: int, place: int) -> None:
    assert hat.rank(torch.tensor([-0.1, 0.5, 0.3, 0.3]), index) == place


def test_a_difference_is_the_direction_in_which_all_pictures_move() -> None:
    bare = torch.randn(5, 8)
    hats = torch.zeros(8)
    hats[3] = 0.2
    torch.testing.assert_close(hat.difference(bare + hats, bare), 5 * hats, atol=1e-6, rtol=0)
    assert hat.difference(torch.randn(5, 8), bare).norm().item() == pytest.approx(1)


def encoders(monkeypatch: pytest.MonkeyPatch, module: object, told: Callable[[Scene], Tensor]) -> None:
    """Let the image encoder say what is told of each scene, whose rendering is a grey of its own number."""
    drawn: list[Scene] = []

    def renders(some: list[Scene]) -> Tensor:
        drawn.extend(some)
        return torch.arange(len(drawn) - len(some), len(drawn)).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)

    def vectors(pictures: Tensor) -> Tensor:
        return torch.stack([told(drawn[k]) for k in pictures[:, 0, 0, 0].tolist()])

    monkeypatch.setattr(module, "renders", renders)
    monkeypatch.setattr(embedded, "picture_vectors", vectors)


@pytest.mark.parametrize("mistaken", [{}, {"hat": "cap", "cap": "hat"}])
def test_what_a_hat_adds_is_named_only_if_pictures_point_where_words_do(
    monkeypatch: pytest.MonkeyPatch, mistaken: dict[str, str]
) -> None:
    words = [*hat.wearers(), *hat.WORN]
    vectors = dict(zip(words, embedded.text_vectors(words), strict=True))

    def told(scene: Scene) -> Tensor:
        (one,) = scene.items
        return vectors[one.thing] + (vectors[mistaken.get(one.worn, one.worn)] if one.worn else 0)

    encoders(monkeypatch, hat, told)
    outcome = hat.hat(spots=1)
    numbers = outcome.numbers
    assert numbers["words"] == len(outcome.result.words) == outcome.result.cosines.shape[1]
    assert outcome.held is not bool(mistaken)
    assert numbers["of_hat_cap_helmet_named_rightly"] == (1 if mistaken else 3)
    assert (numbers["cosine_of_hat"] > 0.9999) is not bool(mistaken)
    for name in ("rank_of_hat", "rank_of_cap_for_the_cap"):
        assert (numbers[name] == 1) is not bool(mistaken)
    assert numbers["rank_of_helmet_for_the_helmet"] == 1


def test_the_man_alone_is_compared_with_words_and_with_phrases_less_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """He points where his phrases do, and everybody else nowhere in particular."""
    words = [None, *hat.WORN]
    man = embedded.text_vectors(["a man", *(f"a man wearing a {worn}" for worn in hat.WORN)])

    def told(scene: Scene) -> Tensor:
        (one,) = scene.items
        return man[words.index(one.worn)] if one.thing == "man" else torch.randn(man.shape[1])

    encoders(monkeypatch, hat, told)
    outcome = hat.hat(spots=1)
    assert outcome.numbers["rank_of_hat_on_the_man_alone_among_phrases"] == 1
    near = embedded.text_vectors(outcome.result.words) @ hat.difference(man[1:2], man[:1])
    assert outcome.numbers["rank_of_hat_on_the_man_alone"] == hat.rank(near, outcome.result.words.index("hat"))


def test_a_hat_is_put_on_renders_and_seen_by_the_encoder_itself() -> None:
    outcome = hat.hat(spots=1)
    assert outcome.result.pictures.shape == (2, len(hat.SHOWN), 3, 128, 128)
    assert (outcome.result.pictures[0] != outcome.result.pictures[1]).flatten(1).any(1).all()
    assert outcome.result.cosines.abs().max() <= 1 + 1e-5
    holding(outcome)


def test_the_best_caption_is_that_of_the_highest_cosine() -> None:
    cosines = torch.tensor([[0.1, 0.9, -1.0], [-0.2, -0.9, -0.3]])
    assert zero_shot.best(cosines).tolist() == [1, 0]
    assert zero_shot.best(cosines.expand(4, 2, 3)).shape == (4, 2)


def test_a_name_in_several_places_is_the_mean_of_its_captions() -> None:
    apple = zero_shot.known_names().index("apple")
    torch.testing.assert_close(zero_shot.names([""])[apple], embedded.text_vectors(["an apple"])[0])
    said = zero_shot.names(["in the snow", "in space"])
    assert said.shape == (len(zero_shot.known_names()), embedded.text_vectors([""]).shape[1])
    mean = embedded.text_vectors(["an apple in the snow", "an apple in space"]).mean(0)
    torch.testing.assert_close(said[apple], mean / mean.norm())


@pytest.mark.parametrize("shift", [0, 1])
def test_a_picture_is_named_by_where_its_vector_points(monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """Each picture's vector is between its own thing's name and its caption, or that of the next thing's name."""
    monkeypatch.setattr(embedded, "places", lambda: [""])
    single = zero_shot.names([""])
    things = zero_shot.known_names()

    def told(scene: Scene) -> Tensor:
        name = single[(things.index(scene.nouns[0].thing) + shift) % len(things)]
        return normalize(name + (1 - shift) * embedded.text_vectors([scene.caption])[0], dim=0)

    encoders(monkeypatch, zero_shot, told)
    outcome = zero_shot.zero_shot(groups=2)
    assert outcome.numbers["share_named_rightly"] == 1 - shift
    assert outcome.numbers["share_named_rightly_by_one_caption"] == 1 - shift
    assert outcome.numbers["share_by_chance"] == 1 / 67
    assert outcome.numbers["pictures"] == 16
    assert outcome.held is (shift == 0)


def test_a_matrix_of_cosines_has_eight_different_things_and_is_counted_by_its_diagonal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "places", lambda: ["in the snow", "in space"])  # reading takes the time
    outcome = zero_shot.zero_shot(groups=1)
    holding(outcome)
    assert len(set(outcome.result.captions)) == zero_shot.GROUP
    (cosines,) = outcome.result.cosines
    assert cosines.shape == (8, 8)
    vectors, texts = embedded.picture_vectors(outcome.result.pictures), embedded.text_vectors(outcome.result.captions)
    torch.testing.assert_close(cosines, vectors @ texts.T, atol=1e-5, rtol=0)  # a row a picture
    own = cosines.diag()
    others = (cosines.sum() - own.sum()) / 56
    assert outcome.numbers["mean_cosine_of_own_minus_other"] == pytest.approx(float(own.mean() - others), abs=1e-5)
    share = (own == cosines.amax(1)).float().mean().item()
    assert outcome.numbers["share_whose_own_caption_is_best_of_eight"] == share
