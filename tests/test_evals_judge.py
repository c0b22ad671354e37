from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from scorefield.data.layout import Item
from scorefield.data.scenes import scene
from scorefield.data.things import NAMES
from scorefield.errors import DamagedError
from scorefield.evals import judge
from scorefield.evals.judge import LABELS
from scorefield.input_files import Json
from scorefield.nets.detector import Detection, Detector
from scorefield.weights import scorefield_file

TINY = replace(judge.config(), width_quarter=8, width_eighth=16, width_sixteenth=16)


def nothing(pictures: int = 1) -> Detection:
    """The detection of empty pictures of 128 x 128."""
    cells = (16, 16)
    counts = (2, len(LABELS.things), len(LABELS.colours), len(LABELS.worn))
    maps = [torch.zeros(pictures, count, *cells) for count in counts]
    return Detection(torch.full((pictures, *cells), -9.0), *maps, torch.zeros(pictures, len(LABELS.places)))


def put(detection: Detection, cell: tuple[int, int], thing: str, score: float = 4.0, picture: int = 0) -> None:
    detection.centre[picture, *cell] = score
    detection.thing[picture, NAMES.index(thing), *cell] = 9


def test_an_empty_picture_shows_nothing() -> None:
    assert judge.read(nothing(2), 8, 0.5) == [((), LABELS.places[0])] * 2


def test_a_thing_is_read_with_all_its_qualities() -> None:
    seen = nothing(2)
    put(seen, (3, 12), "car", picture=1)
    seen.colour[1, LABELS.colours.index("purple"), 3, 12] = 5
    seen.offset[1, :, 3, 12] = torch.atanh(torch.tensor([0.25, -0.5]))
    seen.place[1, LABELS.places.index("night")] = 5
    empty, (found, place) = judge.read(seen, 8, 0.5)
    assert empty.found == ()
    assert place == "night"
    assert len(found) == 1
    assert found[0][0] == "car"
    assert found[0][1:4] == pytest.approx(((12.5 + 0.25) * 8, (3.5 - 0.5) * 8, 0.982), abs=1e-3)
    assert found[0][4:] == ("purple", None)


def test_headgear_is_read_of_heads_alone_and_colour_of_what_has_colours() -> None:
    seen = nothing()
    for cell, thing in (((3, 3), "cat"), ((9, 9), "volcano")):
        put(seen, cell, thing)
        seen.worn[0, LABELS.worn.index("cap"), *cell] = 5
    found = {one.thing: one for one in judge.read(seen, 8, 0.5)[0].found}
    assert found["cat"].worn == "cap"
    assert found["volcano"].worn is None
    assert found["volcano"].colour is None


def test_a_thing_that_could_be_several_is_unclear() -> None:
    seen = nothing()
    put(seen, (3, 3), "cat")
    for name in ("dog", "fox", "cow"):
        seen.thing[0, NAMES.index(name), 3, 3] = 8.95
    assert judge.read(seen, 8, 0.5)[0].found[0].thing == judge.UNCLEAR
    seen.thing[0, NAMES.index("dog"), 3, 3] = 8
    assert judge.read(seen, 8, 0.5)[0].found[0].thing == "cat"


@pytest.mark.parametrize(("more", "thing"), [(0.9, "cat"), (1.1, judge.UNCLEAR)])
def test_a_thing_is_unclear_if_that_is_much_likelier_than_its_name(more: float, thing: str) -> None:
    seen = nothing()
    put(seen, (3, 3), "cat")
    seen.thing[0, LABELS.things.index(judge.UNCLEAR), 3, 3] = 9 + more
    before = seen.thing.clone()
    assert judge.read(seen, 8, 0.5)[0].found[0].thing == thing
    assert torch.equal(seen.thing, before)


def test_neighbouring_cells_are_one_thing_and_distant_ones_several() -> None:
    seen = nothing()
    put(seen, (4, 4), "cat", 3.0)
    put(seen, (4, 5), "dog", 2.0)
    put(seen, (4, 10), "dog", 1.0)
    assert [one.thing for one in judge.read(seen, 8, 0.5)[0].found] == ["cat", "dog"]
    assert [one.thing for one in judge.read(seen, 8, 0.9)[0].found] == ["cat"]


def test_what_is_seen_does_not_depend_on_the_batch() -> None:
    module = Detector(TINY).eval()
    pictures = torch.randint(0, 256, (5, 3, 128, 128), dtype=torch.uint8)
    together = judge.look(module, pictures, 0.018)
    assert len(together) == 5
    assert any(one.found for one in together)
    for picture, one in zip(pictures, together, strict=True):
        alone = judge.look(module, picture[None], 0.018, batch=1)[0]
        assert alone.place == one.place
        assert [found.thing for found in alone.found] == [found.thing for found in one.found]


@pytest.mark.parametrize(
    "pictures", [torch.zeros(1, 3, 128, 128), torch.zeros(3, 128, 128).byte(), torch.zeros(1, 1, 128, 128).byte()]
)
def test_other_tensors_than_pictures_are_refused(pictures: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        judge.look(Detector(TINY), pictures)


def test_a_size_that_does_not_fit_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        judge.look(Detector(TINY), torch.zeros(1, 3, 120, 128).byte())


def test_a_judge_reads_in_the_words_of_its_own_file(tmp_path: Path) -> None:
    labels = replace(LABELS, things=("yeti", "cat"), colours=("red",), coloured=("yeti",), hatted=())
    path = tmp_path / "judge.safetensors"
    header = scorefield_file.Header(kind="judge", config={}, notes=judge.notes(0.4, labels))
    scorefield_file.save(path, Detector(judge.config(labels)).state_dict(), header)
    assert judge.load(path).labels == labels
    seen = Detection(*(part[:, :2] if k == 2 else part[:, :1] if k == 3 else part for k, part in enumerate(nothing())))
    seen.centre[0, 3, 3], seen.thing[0, 0, 3, 3] = 4, 9
    (found,) = judge.read(seen, 8, 0.4, labels)[0].found
    assert (found.thing, found.colour) == ("yeti", "red")


def test_the_judge_that_ships_says_what_it_knows() -> None:
    labels = judge.load().labels
    one = scene(0, task="single")
    assert replace(labels, things=()).knows(replace(one, items=()))
    assert not replace(labels, things=()).knows(one)
    cat = replace(one, place="desert", items=(Item(thing="cat", x=60, y=60, size=40),))
    assert labels.knows(cat)
    assert not replace(labels, places=("sea",)).knows(cat)
    assert not replace(labels, coloured=()).knows(replace(cat, items=(replace(cat.items[0], colour="red"),)))
    assert not replace(labels, hatted=()).knows(replace(cat, items=(replace(cat.items[0], worn="hat"),)))


@pytest.mark.parametrize("labels", [None, {}, {"things": ["cat"]}, {name: [3] for name in asdict(LABELS)}])
def test_a_file_without_labels_is_refused(labels: Json, tmp_path: Path) -> None:
    tensors, header = scorefield_file.load(judge.FILE, "judge")
    unlabelled = replace(header, notes={**header.notes, "labels": labels})
    path = scorefield_file.save(tmp_path / "judge.safetensors", tensors, unlabelled)
    with pytest.raises(DamagedError, match="another version of scorefield"):
        judge.load(path)


def test_the_detector_of_the_scenes_is_small() -> None:
    with torch.device("meta"):
        module = Detector(judge.config())
    assert sum(p.numel() for p in module.parameters()) <= 3_000_000
