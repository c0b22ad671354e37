"""The films data set: always the same film, true captions, plain motions, a tenth of the combinations held out."""

import re
from collections import Counter

import numpy as np
import pytest

from scorefield.data.captions import Noun
from scorefield.data.casts import FILM_THINGS, ROLES
from scorefield.data.film_render import FALL, behind, render_film
from scorefield.data.film_scenes import ALONE, FILM_TASKS, JUDGED, UNSAID, WRONG, Film, film, held_out
from scorefield.data.motions import DIRECTIONS, FACING_RIGHT, FAULTS, MOTIONS, WEATHER, movers
from scorefield.data.paint import SIZE
from scorefield.data.phrases import PLACES, RELATIONS
from scorefield.data.scripts import FRAMES, GAITS
from scorefield.data.sprites import sides
from scorefield.data.things import BY_NAME
from scorefield.data.vocabulary import words

MANY = [film(index) for index in range(3000)]
HELD = [film(index, split="heldout", task=task) for task in JUDGED for index in range(60)]


def _of(name: str) -> list[Film]:
    return [one for one in MANY if one.script.name == name]


def test_a_film_of_a_seed_is_always_the_same_film() -> None:
    again = film(7, seed=5)
    assert again == film(7, seed=5)
    assert again != film(8, seed=5)
    assert again != film(7, seed=6)
    assert np.array_equal(render_film(again), render_film(film(7, seed=5)))


def test_a_film_has_17_frames_of_128_px() -> None:
    frames = render_film(MANY[0])
    assert FRAMES == 17
    assert frames.shape == (17, 128, 128, 3)
    assert frames.dtype == np.uint8
    assert all(len(track) == FRAMES for one in MANY for track in one.tracks)


def test_the_tasks_come_in_their_shares() -> None:
    counts = Counter(one.task for one in MANY)
    assert sum(FILM_TASKS.values()) == pytest.approx(1)
    for task, share in FILM_TASKS.items():
        assert abs(counts[task] / len(MANY) - share) < 0.03


def test_training_never_shows_a_held_out_combination_and_held_out_films_show_nothing_else() -> None:
    assert not any(held_out(one.nouns, one.script.name, one.place) for one in MANY)
    assert all(held_out(one.nouns, one.script.name, one.place) for one in HELD)
    assert not any(one.faults for one in HELD)


def test_a_tenth_of_the_combinations_is_held_out() -> None:
    new = {name: [] for name in ROLES}
    for name, role in ROLES.items():
        for thing in (*role.things, *role.others):
            new[name] += [held_out([Noun(thing=thing)], name, place) for place in role.places]
    shares = [share for some in new.values() for share in some]
    assert 0.07 < np.mean(shares) < 0.13
    assert all(any(new[task]) for task in JUDGED if task != "alone")
    assert sum(any(new[name]) for name in ALONE) >= 10
    assert len({(one.nouns[0].thing, one.script.name, one.place) for one in HELD}) > 150


def test_a_cast_can_do_what_it_plays() -> None:
    for name, role in ROLES.items():
        assert set(role.places) <= PLACES.keys()
        assert {*role.things, *role.others} <= BY_NAME.keys()
        if name in MOTIONS:
            assert set(role.things) <= set(movers(name)), name
    assert {"car", "balloon", "ball", "rocket", "dog", "cat", "astronaut", "horse", "flag"} <= set(FILM_THINGS)


def test_captions_say_what_is_shown() -> None:
    for one in MANY:
        if one.faults or one.task == "silent":
            continue
        for noun in one.nouns:
            assert any(name in one.caption for name in (BY_NAME[noun.thing].name, *BY_NAME[noun.thing].synonyms))
        if one.move is not None:
            assert any(verb in one.caption for verbs in MOTIONS[one.move.name].verbs for verb in verbs)
            said = [way for way, phrases in DIRECTIONS.items() if any(phrase in one.caption for phrase in phrases)]
            assert said == ([one.move.direction] if one.move.direction else [])
            assert one.move.direction in (None, one.script.direction)
        if one.relation is not None:
            assert any(phrase in one.caption for phrase in RELATIONS[one.relation])
        phrases = WEATHER[one.place] if one.task == "weather" else PLACES[one.place]
        assert not one.place_said or any(phrase in one.caption for phrase in phrases)


def test_every_word_of_a_caption_is_in_the_vocabulary_and_captions_fit() -> None:
    known = set(words())
    for one in MANY:
        said = re.findall(r"\w+|,", one.caption)
        assert set(said) <= known, one.caption
        assert len(said) <= 30
    openings = [one.caption for one in _of("riding") if one.caption.startswith(("a film", "a video", "a clip"))]
    assert openings


def test_a_motion_has_several_phrasings() -> None:
    said = " | ".join(one.caption for one in MANY if one.script.name == "drive")
    for phrase in (
        "drives",
        "is driving",
        "driving to the",
        "from left to right",
        "to the left",
        "a film of",
        "slowly",
    ):
        assert phrase in said, phrase
    assert any(one.caption == "" for one in MANY)


def test_wrong_films_come_in_their_share_and_most_captions_say_so() -> None:
    wrong = [one for one in MANY if one.faults and one.task != "silent"]
    assert abs(len(wrong) / len(MANY) - WRONG) < 0.03
    said = [any(word in one.caption for word in FAULTS[fault]) for one in wrong for fault in one.faults]
    assert abs(np.mean(said) - (1 - UNSAID)) < 0.06
    assert {fault for one in wrong for fault in one.faults} == FAULTS.keys()
    right = [one.caption for one in MANY if not one.faults]
    assert not any(word in caption for caption in right for words in FAULTS.values() for word in words)


def test_a_still_or_backward_film_is_not_said_to_move() -> None:
    for one in MANY:
        if one.move and {"still", "backwards"} & set(one.faults) and any(
            word in one.caption for fault in one.faults for word in FAULTS[fault]
        ):  # fmt: skip
            assert not any(phrase in one.caption for phrases in DIRECTIONS.values() for phrase in phrases)


def test_who_goes_to_one_side_gets_there_looking_there() -> None:
    for one in MANY:
        if one.script.name not in GAITS:
            continue
        (track,) = one.tracks
        gone = track[-1].x - track[0].x
        assert (gone > 0) == (one.script.direction == "right")
        assert abs(gone) >= 30
        rolls = one.script.name == "roll"
        assert rolls or track[0].flip == ((one.script.direction == "right") != (track[0].thing in FACING_RIGHT))


@pytest.mark.parametrize("name", ["rise", "fall", "land", "leave", "bounce"])
def test_what_moves_up_or_down_does_so_plainly(name: str) -> None:
    for one in _of(name):
        heights = [item.y for item in one.tracks[0]]
        if name in ("rise", "leave"):
            assert heights[-1] - heights[0] <= -50
        if name in ("fall", "land"):
            assert heights[-1] - heights[0] >= 30
        if name == "leave":  # nothing of it is left
            assert heights[-1] + sides(one.tracks[0][0].thing, one.tracks[0][0].size)[1] / 2 <= 0
        if name == "bounce":  # it goes up again two times at least, each time less
            tops = [heights[k] for k in range(1, FRAMES - 1) if heights[k - 1] > heights[k] <= heights[k + 1]]
            assert len(tops) >= 2
            assert sorted(tops) == tops
            assert heights[0] < tops[0]


def test_two_that_cross_change_sides_and_who_walks_to_another_gets_close() -> None:
    for one in _of("cross"):
        near, far = one.tracks
        assert (near[0].x < far[0].x) != (near[-1].x < far[-1].x)
    for one in _of("meet"):
        coming, waiting = one.tracks
        assert len({(item.x, item.y) for item in waiting}) == 1
        assert abs(coming[-1].x - waiting[-1].x) < 0.65 * abs(coming[0].x - waiting[0].x)


def test_a_rider_stays_on_its_mount_and_a_held_thing_is_lifted() -> None:
    for one in _of("riding"):
        for rider, mount in zip(*one.tracks, strict=True):
            assert rider.x == mount.x
            assert 0 < mount.y - rider.y <= 56
    for one in _of("holding"):
        holder, held = one.tracks
        assert held[-1].y - held[0].y <= -30
        assert all(abs(one.x - other.x) <= 64 for one, other in zip(holder, held, strict=True))


def test_things_stay_inside_the_picture_but_those_that_fly_off() -> None:
    for one in MANY:
        if one.script.name == "leave":
            continue
        for item in (item for track in one.tracks for item in track):
            width, height = sides(item.thing, item.size, item.worn)
            inside = min(item.x - width / 2, item.y - height / 2) >= -8
            assert inside, (one.script, item)
            assert max(item.x + width / 2, item.y + height / 2) <= SIZE + 8, (one.script, item)


def test_a_place_stands_still_but_for_its_weather() -> None:
    for one in MANY[:40]:
        still = one.place not in FALL
        assert np.array_equal(behind(one, 0), behind(one, 5)) == still


def test_snow_falls() -> None:
    one = next(one for one in MANY if one.place == "snow")
    first, later = (behind(one, k).astype(int) for k in (0, 3))
    down = 3 * FALL["snow"][0]
    flakes = (behind(one, 0) == 255).all(-1)
    moved = np.roll(flakes, down, 0)
    assert np.array_equal(later[moved].min(), 255)
    assert (first != later).any()


def test_each_fault_is_what_it_says() -> None:
    one = next(one for one in MANY if one.script.name == "drive" and one.place == "meadow")
    true = render_film(one, faults=())
    still, backwards, blurred, flickering, shaking, distorted = (
        render_film(one, faults=[fault])
        for fault in ("still", "backwards", "blurred", "flickering", "shaking", "distorted")
    )
    assert (still == still[0]).all()
    assert np.array_equal(backwards, true[::-1])
    sharpness = [np.abs(np.diff(frames.astype(int), axis=2)).mean() for frames in (true, blurred)]
    assert sharpness[1] < 0.7 * sharpness[0]
    assert flickering[1].mean() < 0.7 * flickering[0].mean()
    assert not np.array_equal(shaking[0, :8], shaking[1, :8])
    assert np.array_equal(true[0, :8], true[1, :8])
    assert np.abs(distorted.astype(int) - true).mean() > 5
