"""The judge of films: true films are right, and those that stand still or go backwards are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.data.film_render import render_film
from scorefield.data.film_scenes import JUDGED, Film, film
from scorefield.evals import film_judge, film_motion, judge
from scorefield.evals.film_judge import Judged, shares, truth, verdict
from scorefield.evals.film_motion import At, FilmSeen, course
from scorefield.evals.judge import UNCLEAR, Found, Seen

PROMPTS = film_judge.prompts(400)


def _first(name: str, **wanted: object) -> Film:
    some = (film(index, task="alone" if name not in JUDGED else name) for index in range(10_000))  # type: ignore[arg-type]
    found = (one for one in some if one.script.name == name and not one.faults)
    return next(one for one in found if all(getattr(one.script, key) == value for key, value in wanted.items()))


def _frames(one: Film, faults: tuple[str, ...] = ()) -> Tensor:
    return torch.from_numpy(render_film(one, faults)).permute(0, 3, 1, 2)


def _noisy(seen: FilmSeen, swing: float, missed: float) -> FilmSeen:
    """The findings of a judge that errs by some px, and overlooks things in some frames."""
    rng = np.random.default_rng(0)
    frames = []
    for one in seen.frames:
        kept = [found for found in one.found if rng.random() >= missed]
        moved = [found._replace(x=found.x + rng.uniform(-swing, swing), y=found.y + rng.uniform(-swing, swing))
                 for found in kept]  # fmt: skip
        frames.append(one._replace(found=tuple(moved)))
    return seen._replace(frames=tuple(frames))


def test_true_films_are_right_in_97_of_100_though_the_judge_errs_by_px() -> None:
    judged = [Judged(one, verdict(one, _noisy(truth(one), 2.0, 0.1))) for one in PROMPTS]
    assert shares(judged)["all"].rate >= 0.97


@pytest.mark.parametrize("fault", ["still", "backwards"])
def test_at_most_5_of_100_still_or_reversed_films_are_right(fault: str) -> None:
    judged = [Judged(one, verdict(one, _noisy(truth(one, [fault]), 2.0, 0.1))) for one in PROMPTS]
    assert shares(judged)["motion"].rate <= 0.05


def test_the_shipped_judge_calls_true_films_right_and_still_or_reversed_ones_wrong() -> None:
    look = judge.load()

    def right(count: int, *faults: str) -> int:
        films = PROMPTS[:count]
        return sum(verdict(one, film_judge.look_at(one, _frames(one, faults), look)).right for one in films)

    assert right(20) == 20
    assert right(6, "still") == right(6, "backwards") == 0


def test_the_prompts_are_held_out_and_of_all_tasks() -> None:
    assert {one.task for one in PROMPTS} == set(JUDGED)
    assert film_judge.prompts(20) == PROMPTS[:20]
    assert len({one.caption for one in PROMPTS}) >= 380


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([(20 + 5 * k, 100) for k in range(17)], "right"),
        ([(100 - 3 * k, 100) for k in range(17)], "left"),
        ([(60, 110 - 5 * k) for k in range(17)], "up"),
        ([(60, 30 + 5 * k) for k in range(17)], "down"),
        ([(60, 100 - 8 * k) for k in range(12)], "off"),
        ([(60, 100)] * 17, "still"),
        ([(60 + 3 * k % 20, 100 - 7 * k % 12) for k in range(17)], "unclear"),
    ],
)
def test_a_course_is_read_from_places(rows: list[tuple[float, float]], wanted: str) -> None:
    assert course([At(k, x, y) for k, (x, y) in enumerate(rows)]) == wanted


def test_a_ball_that_bounces_lower_each_time_bounces_and_one_that_bounces_higher_does_not() -> None:
    (track,) = _first("bounce").tracks
    at = [At(k, item.x, item.y) for k, item in enumerate(track)]
    assert course(at) == "bounce"
    assert course([At(k, one.x, one.y) for k, one in enumerate(reversed(at))]) != "bounce"


def test_a_film_of_another_thing_place_or_colour_is_wrong() -> None:
    one = replace(_first("drive"), place_said=True)
    seen = truth(one)
    assert verdict(one, seen).right
    other = [Seen(tuple(found._replace(thing="cow") for found in some.found), some.place) for some in seen.frames]
    assert verdict(one, seen._replace(frames=tuple(other))).thing is not None
    extra = [some._replace(found=(*some.found, Found(UNCLEAR, 9, 9, 0.9, None, None))) for some in seen.frames]
    assert "not named" in str(verdict(one, seen._replace(frames=tuple(extra))).thing)
    away = seen._replace(frames=tuple(some._replace(place="sea") for some in seen.frames))
    assert "sea" in str(verdict(one, away).place)
    red = replace(one, nouns=(replace(one.nouns[0], colour="red"),))
    assert "instead of red" in str(verdict(red, seen).thing)


def test_the_wrong_direction_and_the_wrong_kind_of_motion_are_wrong() -> None:
    one = next(one for one in PROMPTS if one.move and one.move.direction == "right")
    assert one.move is not None
    left = replace(one, move=replace(one.move, direction="left"))
    assert "goes right instead of left" in str(verdict(left, truth(one)).motion)
    rises = replace(one, script=replace(one.script, name="rise"))
    assert "instead of up" in str(verdict(rises, truth(one)).motion)


@pytest.mark.parametrize("name", ["drive", "meet", "riding"])
def test_a_thing_faces_the_way_it_goes_and_backwards_the_other(name: str) -> None:
    one = next(
        one
        for one in (film(k, split="heldout", task="alone" if name == "drive" else name) for k in range(900))  # type: ignore[arg-type]
        if one.script.name == name and one.nouns[-1].thing in ("car", "truck", "train", "motorcycle", "horse", "dog")
    )
    track = one.tracks[0] if name == "drive" else one.tracks[-1]
    facing = film_judge.faces(_frames(one), track[0])
    assert facing == truth(one).faces[track[0].thing]


def test_weather_falls_but_not_in_a_still_or_reversed_film() -> None:
    for place in ("snow", "rain"):
        one = next(one for one in (film(k, task="weather") for k in range(99)) if one.place == place and not one.nouns)
        assert film_judge.falls(render_film(one, ())) is True
        assert film_judge.falls(render_film(one, ("backwards",))) is False
        assert film_judge.falls(render_film(one, ("still",))) is None


def test_a_true_film_is_like_its_sprites_and_a_blurred_one_is_not() -> None:
    for one in (film(3, split="heldout", task=task) for task in ("alone", "cross", "riding")):
        assert film_judge.likeness(one, _frames(one)) >= 22, one.caption
        assert film_judge.likeness(one, _frames(one, ("distorted",))) < 18, one.caption


def test_a_film_is_looked_at_frame_by_frame() -> None:
    one = film(5, split="heldout", task="riding")

    def look(*faults: str) -> FilmSeen:
        return film_judge.look_at(one, _frames(one, faults), lambda pictures: list(truth(one, faults).frames))

    assert verdict(one, look()).right
    assert not verdict(one, look("backwards")).right


def test_a_thing_that_is_seen_too_rarely_cannot_be_followed() -> None:
    one = _first("rise")
    seen = truth(one)
    few = seen._replace(frames=tuple(Seen((), some.place) if k > 2 else some for k, some in enumerate(seen.frames)))
    assert "cannot be followed" in str(film_motion.motion_fault(one, few))
