"""The way of a request: everything is read once, and few rooms are entered."""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from docs.notebooks.tiny_stable import tiny_stable
from PIL import Image
from tests.loras import kohya, pair, save
from tests.opened import opening

import scorefield as sf
from scorefield.api import prepare
from scorefield.core import grid
from scorefield.files import open_picture
from scorefield.model.events import Finished, Output
from scorefield.nets.clip import TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import Unet
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.request import parse
from scorefield.stages import input_images
from scorefield.weights import tensor_index

HOUSE = Path(sf.__file__).parent
# As measured, so that they can only fall.
MOST_ROOMS_OF_A_PICTURE, MOST_FILES_OF_A_PICTURE, MOST_FILES_OF_A_LOAD = 36, 40, 31


@pytest.fixture
def opened() -> Iterator[list[str]]:
    with opening() as names:
        yield names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("tiny"))


def counting(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, of: Callable[..., object]
) -> Counter[object]:  # fmt: skip
    """How often `owner.name` is called from now on, by what `of` says of its arguments."""
    counts: Counter[object] = Counter()
    real = getattr(owner, name)

    def counted(*arguments: object, **named: object) -> object:
        counts[of(*arguments)] += 1
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)
    return counts


def entered(work: Callable[[], object]) -> list[str]:
    """The files of the package, in the order in which calls enter them."""
    files: list[str] = []

    def profile(frame: object, event: str, _: object) -> None:
        name = Path(frame.f_code.co_filename)
        if event == "call" and name.is_relative_to(HOUSE):
            files.append(str(name.relative_to(HOUSE)))

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return files


def test_a_request_is_read_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    picture, mask, lora = tmp_path / "a.png", tmp_path / "m.png", tmp_path / "l.safetensors"
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(picture)
    Image.new("L", (64, 64), 255).save(mask)
    save(lora, kohya("down_blocks_0_attentions_0_proj_in", *pair(32, 32, 1, 1)))
    opened.clear()
    decoded = counting(monkeypatch, open_picture, "open_picture", lambda data, name: name)
    hashed = counting(monkeypatch, input_images, "sha256", len)
    digested = counting(monkeypatch, hashlib, "file_digest", lambda stream, _: stream.name)
    split = counting(monkeypatch, ClipTokenizer, "split", lambda _, prompt: prompt)
    levels = counting(monkeypatch, grid, "levels", lambda *_: "levels")
    headers = counting(monkeypatch, tensor_index, "safe_open", lambda file: str(file))
    request = parse(
        {
            "model": str(folder), "device": "cpu", "prompts": ["a tree", "a dog"], "negative_prompt": "fog",
            "image": str(picture), "mask": str(mask), "loras": [(str(lora), 0.5)], "count": 3, "batch_size": 2,
            "steps": 2, "seed": 0,
        }
    )  # fmt: skip
    job = prepare(request)
    assert [len(batch.seeds) for batch in job.plan.batches] == [2, 2, 2]
    planned = Counter(opened)
    assert (planned[str(picture)], planned[str(mask)]) == (1, 1)
    events = list(job)
    assert sum(isinstance(event, Output) for event in events) == 6
    assert isinstance(events[-1], Finished)
    records = [event.media.record() for event in events if isinstance(event, Output)]
    assert len({str(record["request"]["loras"]) for record in records}) == 1

    assert Counter(opened)[str(picture)] == Counter(opened)[str(mask)] == 1
    assert decoded == {str(picture): 1, str(mask): 1}
    assert hashed == {picture.stat().st_size: 1, mask.stat().st_size: 1}
    assert digested == {str(lora): 1}
    assert split == {"a tree": 1, "a dog": 1, "fog": 1}
    assert levels == {"levels": 1}
    weights = [*folder.rglob("*.safetensors"), lora]
    assert headers == dict.fromkeys(map(str, weights), 1)  # the trial reads them, and the load takes them over
    texts = {name: count for name, count in Counter(opened).items() if name.startswith(str(folder))}
    assert {name for name, count in texts.items() if count > 1 and not name.endswith(".safetensors")} == set()


def test_the_networks_of_the_trial_are_those_that_a_load_fills(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = [counting(monkeypatch, kind, "__init__", lambda net, *_: type(net)) for kind in (Unet, Kl, TextEncoder)]
    pipe = sf.load(folder, device="cpu")
    assert [sum(one.values()) for one in built] == [1, 1, 1]
    assert not any(weight.is_meta for weight in pipe.stage.denoiser.net.parameters())


def test_a_picture_enters_few_files_and_rooms() -> None:
    pipe = sf.load(device="cpu")
    pipe("a dog", steps=1, seed=0)
    files = entered(lambda: pipe("a dog", steps=1, seed=0))
    rooms = [file.partition("/")[0] for file in files]
    changes = sum(one != other for one, other in pairwise(rooms))
    assert changes <= MOST_ROOMS_OF_A_PICTURE, f"{changes}: {' '.join(rooms)}"
    assert len(set(files)) <= MOST_FILES_OF_A_PICTURE, sorted(set(files))


def test_a_load_enters_few_files(folder: Path) -> None:
    sf.load(folder, device="cpu")
    files = set(entered(lambda: sf.load(folder, device="cpu")))
    assert len(files) <= MOST_FILES_OF_A_LOAD, sorted(files)
