"""The vectors of prompts on the disk: a prompt that was read once needs no text encoder."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.opened import opening
from tests.test_prompt_umt5 import folder as tokenizer_folder  # noqa: F401 - a fixture
from tests.test_zoo_wan import Made, made  # noqa: F401 - a fixture

import scorefield as sf
from scorefield.api import Pipeline, prepare
from scorefield.api.outlook import outlook
from scorefield.cli.main import run
from scorefield.disk_cache import DiskCache
from scorefield.errors import DamagedError
from scorefield.prompt.vector_cache import VectorCache
from scorefield.request import parse

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

FILM = {"size": 32, "frames": 5, "steps": 1, "seed": 5}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "scorefield" / "vectors"


def drawn(folder: Path, *prompts: str, **options: object) -> tuple[list[np.ndarray], int]:
    """The films of a job as the command line runs it, and how often weights of the text encoder were opened."""
    asked = {"model": str(folder), "device": "cpu", "prompts": list(prompts), "batch_size": 1, **FILM, **options}
    job = prepare(parse(asked))  # which reads the headers of all files
    with opening() as names:
        films = [event.media for event in job if hasattr(event, "media")]
    encoder = str(folder / "text_encoder")
    reads = {name for name in names if name.startswith(encoder) and name.endswith(".safetensors")}
    return [np.stack([np.asarray(frame) for frame in film.frames]) for film in films], len(reads)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("offload", [False, True])
def test_a_prompt_is_encoded_once_and_the_encoder_not_opened_again(
    made: Made, cache: Path, offload: bool  # noqa: F811
) -> None:  # fmt: skip
    first, opened = drawn(made.folder, "a cat", offload=offload)
    assert opened > 0
    again, opened = drawn(made.folder, "a cat", offload=offload)
    assert (same(first, again), opened) == (True, 0)
    other, opened = drawn(made.folder, "a dog", offload=offload)
    assert (same(first, other), opened > 0) == (False, True)
    plain, opened = drawn(made.folder, "a cat", offload=offload, cache=False)
    assert (same(first, plain), opened > 0) == (True, True)
    assert len(list(cache.iterdir())) == 3  # and the negative prompt


def test_all_prompts_of_a_request_are_read_in_one_turn(
    made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    pipe = sf.load(made.folder, device="cpu", offload=True)
    encoder, turns = pipe.stage.conditioner.encoder, list[str]()
    read = encoder.on_demand._read
    monkeypatch.setattr(encoder.on_demand, "_read", lambda: turns.append("read") or read())
    result = pipe(["a cat", "a dog", "a fox"], batch_size=1, **FILM)
    assert (len(result.films), turns) == (3, ["read"])


def test_a_damaged_entry_is_read_again(made: Made, cache: Path) -> None:  # noqa: F811
    first, _ = drawn(made.folder, "a cat", offload=True)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    again, opened = drawn(made.folder, "a cat", offload=True)
    assert (same(first, again), opened > 0) == (True, True)
    assert drawn(made.folder, "a cat", offload=True)[1] == 0


def test_another_encoder_has_vectors_of_its_own(made: Made, cache: Path, tmp_path: Path) -> None:  # noqa: F811
    first, _ = drawn(made.folder, "a cat")
    copy = shutil.copytree(made.folder, tmp_path / "copy")
    path = copy / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.final_layer_norm.weight"] *= -1
    save_file(tensors, path)
    other, opened = drawn(copy, "a cat")
    assert opened > 0
    assert not same(first, other)


def test_vectors_depend_on_what_rounds_them(tmp_path: Path) -> None:
    cache, ids, states = DiskCache(tmp_path), torch.tensor([4, 2, 1]), torch.randn(3, 8)
    cpu = torch.device("cpu")
    one = VectorCache(cache, "encoder", cpu, torch.float32)
    one.put(ids, states)
    found = one.get(ids)
    assert found is not None and torch.equal(found, states)  # noqa: PT018
    assert one.get(ids[:2]) is None
    assert VectorCache(cache, "another", cpu, torch.float32).get(ids) is None
    assert VectorCache(cache, "encoder", cpu, torch.bfloat16).get(ids) is None
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert one.get(ids) is None
    finally:
        torch.set_num_threads(threads)


def test_an_encoder_that_is_not_offloaded_is_loaded_once_when_it_is_needed(made: Made, cache: Path) -> None:  # noqa: F811
    drawn(made.folder, "a cat")
    pipe: Pipeline = sf.load(made.folder, device="cpu")
    weight = pipe.stage.conditioner.encoder.tokens
    assert weight.weight.is_meta
    pipe("a cat", **FILM)
    assert weight.weight.is_meta
    pipe("a dog", **FILM)
    assert not weight.weight.is_meta
    assert pipe.system.sha256 == made.pipe.system.sha256


def test_an_encoder_that_changed_under_its_remembered_hash_is_refused_and_hashed_again(
    made: Made, cache: Path, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    copy = shutil.copytree(made.folder, tmp_path / "copy")
    drawn(copy, "a cat")
    path = copy / "text_encoder" / "model.safetensors"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-2] ^= 0x3F
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DamagedError, match="text_encoder has changed since it was loaded; load the model again"):
        drawn(copy, "a dog")
    assert drawn(copy, "a dog")[1] > 0


def test_the_command_line_draws_without_a_cache(made: Made, cache: Path, tmp_path: Path) -> None:  # noqa: F811
    call = ["generate", "a cat", "-m", str(made.folder), "--size", "32", "--frames", "5", "--steps", "1", "-q"]
    assert run([*call, "--no-cache", "--offload", "-o", str(tmp_path / "x.png")]) == 0
    assert not cache.parent.exists()


def test_an_encoder_that_will_not_be_read_takes_no_memory(made: Made, cache: Path) -> None:  # noqa: F811
    def parts(prompt: str, **options: object) -> set[str]:
        request = parse({"model": str(made.folder), "device": "cpu", "prompts": [prompt], **FILM, **options})
        return {part.name for part in outlook(request).forecast.parts}

    every = {"denoiser", "text encoder", "autoencoder"}
    assert parts("a cat") == every
    drawn(made.folder, "a cat")
    entries = sorted(cache.iterdir())
    assert parts("a cat") == every - {"text encoder"}
    assert parts("a dog") == parts("a cat", cache=False) == parts("a cat", negative_prompt="fog") == every
    assert sorted(cache.iterdir()) == entries
