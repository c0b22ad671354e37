"""The judge of films: whether a film shows the things, the motion and the place that its caption names."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.data.arrays import Bytes, Floats
from scorefield.data.film_render import FALL, render_film
from scorefield.data.film_scenes import FILM_TASKS, JUDGED, Film, film
from scorefield.data.layout import Item
from scorefield.data.motions import Direction, flipped
from scorefield.data.paint import SIZE
from scorefield.data.scripts import FRAMES
from scorefield.data.sprites import sides, sprite
from scorefield.evals.drawing import Plane, fit
from scorefield.evals.film_motion import OFTEN, RARELY, FilmSeen, motion_fault
from scorefield.evals.interval import Share, wilson
from scorefield.evals.judge import Found, Look, Seen

FACED = 0.7  # dB by which a sprite must fit better than its mirror image to say which way it faces
LOOKS = (3, 7, 11)  # the frames in which that is looked at
LIKE = 4  # every so many frames, a thing is compared with its sprite
SAME = 18.0  # dB to its sprite from which a thing is the same thing

Draw = Callable[[Sequence[Film], int], Tensor]  # films, seed -> (B, 17, 3, 128, 128) uint8; the k-th has seed + k


class FilmVerdict(NamedTuple):
    """What is wrong with each aspect of a film; None for an aspect that is right."""

    thing: str | None
    motion: str | None
    place: str | None

    @property
    def right(self) -> bool:
        """Whether all is as the caption says."""
        return self == (None, None, None)


def _thing_fault(film: Film, frames: Sequence[Seen]) -> str | None:
    wanted = RARELY if film.script.name == "leave" else OFTEN
    counts = Counter(thing for seen in frames for thing in {one.thing for one in seen.found})
    names = [noun.thing for noun in film.nouns]
    for name in names:
        if counts[name] < wanted * len(frames):
            return f"{counts[name]} of {len(frames)} frames show a {name}"
    for name, count in counts.items():
        if name not in names and count >= OFTEN * len(frames):
            return f"{count} of {len(frames)} frames show a {name}, which is not named"
    for noun in film.nouns:
        tints = Counter(one.colour for seen in frames for one in seen.found if one.thing == noun.thing)
        if noun.colour is not None and tints.most_common(1)[0][0] != noun.colour:
            return f"the {noun.thing} is {tints.most_common(1)[0][0]} instead of {noun.colour}"
    return None


def verdict(film: Film, seen: FilmSeen) -> FilmVerdict:
    """What is wrong with a film of this caption: things, motion and place apart."""
    place = Counter(one.place for one in seen.frames).most_common(1)[0][0]
    wrong = f"the place is {place} instead of {film.place}" if film.place_said and place != film.place else None
    return FilmVerdict(_thing_fault(film, seen.frames), motion_fault(film, seen), wrong)


def faces(frames: Tensor, item: Item) -> Direction | None:
    """The way a thing like `item` faces in `frames` (F, 3, H, W) uint8; None if its two sides are alike."""
    right = flipped(item.thing, "right")
    ahead = 0.0
    for k in LOOKS:
        plane = Plane(frames[k])
        to_right, to_left = (
            plane.best(sprite(item.thing, item.size, item.colour, item.worn, flip), item.size).db
            for flip in (right, not right)
        )
        ahead += (to_right - to_left) / len(LOOKS)
    if abs(ahead) < FACED:
        return None
    return "right" if ahead > 0 else "left"


def falls(frames: Bytes) -> bool | None:
    """Whether what moves before a still place (F, H, W, 3) moves down, by the shift of each frame to the next.

    None if nothing goes up or down.
    """
    grey = frames.astype(np.float32).mean(-1)
    moving: Floats = grey - np.median(grey, 0)
    spectra = np.fft.rfft2(moving)
    peaks = np.fft.irfft2(spectra[1:] * spectra[:-1].conj(), moving.shape[1:])
    best = peaks.reshape(len(peaks), -1).argmax(1) // SIZE
    middle = float(np.median(np.where(best > SIZE // 2, best - SIZE, best)))
    return None if abs(middle) < 1 else middle > 0


def look_at(film: Film, frames: Tensor, look: Look) -> FilmSeen:
    """The findings in `frames` (17, 3, 128, 128) uint8 that were drawn for a film's caption."""
    found = {track[0].thing: faces(frames, track[0]) for track in film.tracks if film.script.name != "roll"}
    facing = {thing: way for thing, way in found.items() if way is not None}
    fallen = falls(frames.permute(0, 2, 3, 1).numpy()) if film.place in FALL else None
    return FilmSeen(tuple(look(frames)), facing, fallen)


def likeness(film: Film, frames: Tensor) -> float | None:
    """The least PSNR in dB of the film's things to their true sprites, over every fourth of `frames`.

    A thing counts where the script shows it whole: inside the picture, with nothing before it, not turned. None if no
    thing counts.
    """
    values = []
    for k in range(0, len(frames), LIKE):
        plane = Plane(frames[k])
        for item in _whole(film.frame(k).items):
            values.append(max(fit(plane, replace(item, flip=flip)).db for flip in (False, True)))
    return min(values, default=None)


def _whole(items: Sequence[Item]) -> list[Item]:
    """The items that are inside the picture, not covered and not turned; at equal depth, the first is in front."""
    boxes = [_box(item) for item in items]
    shown = []
    for k, (item, (left, top, right, bottom)) in enumerate(zip(items, boxes, strict=True)):
        before = [box for j, box in enumerate(boxes) if (items[j].depth, -j) > (item.depth, -k)]
        covered = any(left < box[2] and box[0] < right and top < box[3] and box[1] < bottom for box in before)
        if min(left, top) >= 0 and max(right, bottom) <= SIZE and not covered and not item.turn:
            shown.append(item)
    return shown


def _box(item: Item) -> tuple[float, float, float, float]:
    width, height = sides(item.thing, item.size, item.worn)
    return item.x - width / 2, item.y - height / 2, item.x + width / 2, item.y + height / 2


def _inside(item: Item) -> bool:
    return 0 <= item.x < SIZE and 0 <= item.y < SIZE


def _true_frame(film: Film, k: int) -> Seen:
    shown = (item for item in film.frame(k).items if _inside(item))
    return Seen(tuple(Found(one.thing, one.x, one.y, 1.0, one.colour, one.worn) for one in shown), film.place)


def truth(film: Film, faults: Sequence[str] = ()) -> FilmSeen:
    """The findings of a judge that never errs in the true film, or in one that is `still` or goes `backwards`."""
    frames = [_true_frame(film, k) for k in range(FRAMES)]
    frames = [frames[FRAMES // 2]] * FRAMES if "still" in faults else frames
    frames = frames[::-1] if "backwards" in faults else frames
    facing: dict[str, Direction] = {
        one.thing: "right" if one.flip == flipped(one.thing, "right") else "left" for one in film.frame(0).items
    }
    falling = None if film.place not in FALL or "still" in faults else "backwards" not in faults
    return FilmSeen(tuple(frames), facing, falling)


class Judged(NamedTuple):
    """One film that was drawn: the film whose caption was its prompt, the verdict, the seed, and the likeness in dB."""

    film: Film
    verdict: FilmVerdict
    seed: int = 0
    likeness: float | None = None

    @property
    def right(self) -> bool:
        """Whether the film shows what its caption says."""
        return self.verdict.right


def renders(films: Sequence[Film], seed: int = 0) -> Tensor:
    """A Draw of the true films, for any seed, to score the judge itself."""
    return torch.from_numpy(np.stack([render_film(one, ()) for one in films])).permute(0, 1, 4, 2, 3)


def judged(draw: Draw, look: Look, *, count: int = 200, seed: int = 0, batch: int = 8) -> Iterator[Judged]:
    """Yield every film as it is judged: always the same `count` prompts; film k has seed + k."""
    films = prompts(count)
    for start in range(0, count, batch):
        some = films[start : start + batch]
        for k, (one, frames) in enumerate(zip(some, draw(some, seed + start), strict=True), seed + start):
            yield Judged(one, verdict(one, look_at(one, frames, look)), k, likeness(one, frames))


def shares(results: Iterable[Judged]) -> dict[str, Share]:
    """The shares of films with the right `thing`, `motion` and `place`, and of those where all is; not for none.

    `same` is the share of the films with a thing to compare in which every thing is like its sprite.
    """
    known = list(results)
    verdicts = [one.verdict for one in known]
    parts = {name: [getattr(one, name) is None for one in verdicts] for name in FilmVerdict._fields}
    parts["all"] = [one.right for one in verdicts]
    if compared := [one.likeness >= SAME for one in known if one.likeness is not None]:
        parts["same"] = compared
    return {name: wilson(sum(each), len(each)) for name, each in parts.items()}


def prompts(count: int) -> list[Film]:
    """The first `count` held-out films of all tasks in turn, whose captions are the prompts of an evaluation."""
    tasks = [task for task in JUDGED for _ in range(round(20 * FILM_TASKS[task]))]
    return [film(index, split="heldout", task=tasks[index % len(tasks)]) for index in range(count)]
