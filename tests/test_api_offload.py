"""Models that are offloaded: the same pictures, one network in memory at a time, each read for its turn."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from docs.notebooks import tiny_stable as tiny
from PIL import Image
from tests import pipelines, test_zoo_unclip
from tests.loras import kohya, pair, save
from tests.opened import opening
from tests.test_prompt_umt5 import folder as tokenizer_folder  # noqa: F401 - a fixture
from tests.test_zoo_wan import Made, made  # noqa: F401 - a fixture
from tests.tiny import TINY_XL
from torch.nn.modules.module import register_module_forward_pre_hook

import scorefield as sf
from scorefield.api import Pipeline, forecast, prepare
from scorefield.cli.main import run
from scorefield.core.half_precision import dtype_of
from scorefield.core.presence import OnDemand
from scorefield.errors import DamagedError, RequestError
from scorefield.families.stable_diffusion.build import recognised
from scorefield.model.events import Loading, Output, Step
from scorefield.notes import NoEffectWarning
from scorefield.request import parse

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

DRAWN = {"size": 64, "steps": 2, "seed": 3}
FILM = {"size": 32, "frames": 9, "steps": 2, "seed": 5}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scorefield"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_stable(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl")
    pipelines.written_xl(folder, TINY_XL)
    return folder / "model"


def pixels(pipe: Pipeline, prompt: str = "a tree", **options: Any) -> np.ndarray:
    result = pipe(prompt, **(DRAWN | options))
    return np.stack([np.asarray(image) for image in result.images or result.films[0].frames])


def parts_read(names: Sequence[str], folder: Path) -> list[str]:
    """The folders of the weights that were opened, in order, each once in a row."""
    read = [Path(name) for name in names if name.startswith(str(folder)) and name.endswith(".safetensors")]
    return [part for part, _ in groupby(one.parent.name for one in read)]


def networks(pipe: Pipeline) -> list[torch.nn.Module]:
    return [pipe.stage.denoiser.net, pipe.stage.conditioner.encoder, pipe.stage.codec.pictures.autoencoder]


def all_absent(pipe: Pipeline) -> bool:
    return all(weight.is_meta for net in networks(pipe) for weight in net.parameters())


@pytest.mark.parametrize("options", [{}, {"count": 3, "batch_size": 2}, {"size": 96, "tile": 64}, {"cfg_scale": 1}])
def test_a_picture_is_the_same_to_the_bit(folder: Path, options: dict[str, Any]) -> None:
    plain, offloaded = (sf.load(folder, device="cpu", offload=offload) for offload in (False, True))
    assert np.array_equal(pixels(plain, **options), pixels(offloaded, **options))
    assert offloaded.system.sha256 == plain.system.sha256
    assert all_absent(offloaded)


def test_a_picture_of_xl_is_the_same_to_the_bit(xl: Path) -> None:
    plain, offloaded = (sf.load(xl, device="cpu", offload=offload) for offload in (False, True))
    assert np.array_equal(pixels(plain), pixels(offloaded))
    assert offloaded.system.sha256 == plain.system.sha256


def test_a_picture_of_unclip_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_zoo_unclip.written(tmp_path)
    monkeypatch.setattr(
        "scorefield.families.stable_diffusion.build.StableDiffusion.recognise",
        lambda _, checkpoint: recognised(checkpoint, test_zoo_unclip.TINY),
    )
    seen = test_zoo_unclip.picture()
    one, other = (
        pixels(sf.load(tmp_path / "model", device="cpu", offload=offload), image_prompt=seen) for offload in (0, 1)
    )
    assert np.array_equal(one, other)


def test_a_film_is_the_same_to_the_bit(made: Made) -> None:  # noqa: F811
    pipe = sf.load(made.folder, device="cpu", offload=True)
    assert np.array_equal(pixels(made.pipe, **FILM), pixels(pipe, **FILM))
    assert pipe.system.sha256 == made.pipe.system.sha256


def told(pipe: Pipeline, prompt: str = "a tree", **options: Any) -> list[str]:
    """The parts that a job says it will read, which were not in memory then, among its steps (.) and outputs (o)."""
    parts = {net.on_demand.part: net for _, one in forecast._parts(pipe.system) for net in one.modules()
             if isinstance(getattr(net, "on_demand", None), OnDemand)}  # fmt: skip
    seen: list[str] = []
    for event in pipe.job(prompt, **(DRAWN | options)):
        if isinstance(event, Loading):
            assert event.model == pipe.system.choice.model
            assert event.part is not None
            assert next(parts[event.part].parameters(), torch.empty(0, device="meta")).is_meta
            seen.append(event.part)
        elif isinstance(event, Step | Output):
            seen.append("." if isinstance(event, Step) else "o")
    return seen


def test_a_job_says_which_part_it_will_read_before_each_is_read(folder: Path) -> None:
    pipe = sf.load(folder, device="cpu", offload=True)
    words = ["text encoder", "U-Net", ".", ".", ".", "autoencoder", "o"]
    assert told(pipe) == words
    assert told(pipe, image=Image.new("RGB", (64, 64)), strength=1) == ["autoencoder", *words]
    assert told(pipe, count=2, batch_size=1) == words * 2
    assert told(sf.load(folder, device="cpu")) == [".", ".", ".", "o"]


def test_both_encoders_of_xl_are_told(xl: Path) -> None:
    pipe = sf.load(xl, device="cpu", offload=True)
    assert told(pipe) == ["text encoder", "second text encoder", "U-Net", ".", ".", ".", "autoencoder", "o"]


def test_a_part_that_waits_is_told_once_and_not_at_all_where_its_vectors_are_remembered(made: Made) -> None:  # noqa: F811
    sf.load(made.folder, device="cpu")  # remembers the encoder's hash
    pipe = sf.load(made.folder, device="cpu")
    assert told(pipe, **FILM) == ["text encoder", ".", ".", ".", "o"]
    assert told(pipe, "a dog", **FILM) == [".", ".", ".", "o"]
    again = sf.load(made.folder, device="cpu", offload=True)
    assert told(again, **FILM) == ["video transformer", ".", ".", ".", "autoencoder", "o"]


def test_the_command_line_says_which_part_is_loaded_unless_it_is_quiet(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", "a tree", "-m", str(folder), "--device", "cpu", "--size", "64", "--steps", "1", "--offload"]
    for flags, lines in (([], [str(folder), "the text encoder", "the U-Net", "the autoencoder"]), (["--quiet"], [])):
        assert run([*call, "-o", str(tmp_path / "x.png"), *flags, "--overwrite"]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("loading")]
        assert said == [f"loading {one}" for one in lines]


def held_at_once(pipe: Pipeline, **options: Any) -> list[dict[str, int]]:
    """Which parts have numbers while layers run, with their bytes, in order; each state once in a row."""
    parts = dict(forecast._parts(pipe.system))
    states: list[list[str]] = []
    held: list[dict[str, int]] = []

    def look(*_: object) -> None:
        present = [name for name, net in parts.items() if not next(net.parameters()).is_meta]
        if not states or states[-1] != present:
            states.append(present)
            held.append({name: size for name, net in parts.items() if (size := filled(net))})

    handle = register_module_forward_pre_hook(look)
    try:
        pixels(pipe, **options)
    finally:
        handle.remove()
    return held


def filled(net: torch.nn.Module) -> int:
    """Bytes of the weights that have numbers."""
    return sum(one.numel() * one.element_size() for one in net.parameters() if not one.is_meta)


@pytest.mark.parametrize("kind", ["folder", "xl", "film"])
def test_the_most_that_is_held_at_once_is_the_largest_part(kind: str, request: pytest.FixtureRequest) -> None:
    """Weights alone: what a process takes is measured by the slow test of the same name."""
    path = request.getfixturevalue("made").folder if kind == "film" else request.getfixturevalue(kind)
    options: dict[str, Any] = (
        FILM if kind == "film" else {"image": Image.new("RGB", (64, 64)), "negative_prompt": "fog"}
    )
    whole = sf.load(path, device="cpu", cache=False)
    sizes = {name: filled(net) for name, net in forecast._parts(whole.system)}
    held = held_at_once(sf.load(path, device="cpu", offload=True, cache=False), **options)
    assert all(len(one) <= 1 for one in held)
    assert {name: size for one in held for name, size in one.items()} == sizes
    assert max(sum(one.values()) for one in held) == max(sizes.values())
    assert held_at_once(whole, **options) == [sizes]


def test_parts_are_read_in_the_order_of_their_turns_each_once(folder: Path) -> None:
    pipe = sf.load(folder, device="cpu", offload=True)
    with opening() as names:
        pixels(pipe, image=Image.new("RGB", (64, 64)), negative_prompt="fog")
    assert parts_read(names, folder) == ["vae", "text_encoder", "unet", "vae"]


def test_each_encoder_of_xl_is_read_once_a_batch(xl: Path) -> None:
    pipe = sf.load(xl, device="cpu", offload=True)
    with opening() as names:
        pixels(pipe, negative_prompt="fog")
    assert parts_read(names, xl) == ["text_encoder", "text_encoder_2", "unet", "vae"]


def test_a_hash_is_read_once_and_then_remembered(folder: Path) -> None:
    for read in (["unet", "vae", "text_encoder"], []):
        opened = prepare(parse({"model": str(folder), "prompts": "a", "offload": True, "device": "cpu", **DRAWN}))
        with opening() as names:
            opened._load()  # type: ignore[misc]
        assert parts_read(names, folder) == read


def test_without_a_cache_nothing_is_remembered(folder: Path, empty_cache: Path) -> None:
    sf.load(folder, device="cpu", offload=True, cache=False)
    sf.load(folder, device="cpu")
    assert not empty_cache.exists()


def test_a_file_that_changed_after_loading_is_refused(folder: Path, tmp_path: Path, empty_cache: Path) -> None:
    copy = tiny.tiny_stable(tmp_path / "copy")
    pipe = sf.load(copy, device="cpu", offload=True)
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DamagedError, match="vae has changed since it was loaded; load the model again"):
        pixels(pipe)
    assert all_absent(pipe)
    again = sf.load(copy, device="cpu", offload=True)
    pixels(again)
    assert again.system.sha256 != pipe.system.sha256


def test_a_lora_is_applied_whenever_its_part_is_read(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "l.safetensors", kohya("down_blocks_0_attentions_0_proj_in", *pair(32, 32, 1, 1)))
    loras = [(tmp_path / "l.safetensors", 0.5)]
    plain, offloaded = (sf.load(folder, device="cpu", offload=offload) for offload in (False, True))
    wanted = pixels(plain.with_loras(loras))
    changed = offloaded.with_loras(loras)
    for _ in range(2):
        assert np.array_equal(pixels(changed), wanted)
        assert all_absent(changed)
    assert not np.array_equal(pixels(offloaded), wanted)
    assert np.array_equal(pixels(sf.load(folder, device="cpu", offload=True, loras=loras)), wanted)


def test_a_learned_word_is_read_with_an_encoder_on_demand(folder: Path, tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(2, tiny.TEXT.width)}, "name": "zzyx"}, tmp_path / "w.pt")
    words = [("zzyx", tmp_path / "w.pt")]
    one, other = (sf.load(folder, device="cpu", offload=x, embeddings=words) for x in (False, True))
    assert np.array_equal(pixels(one, "a zzyx"), pixels(other, "a zzyx"))
    assert not np.array_equal(pixels(other, "a zzyx"), pixels(other, "a tree"))


def test_a_pickled_pipeline_is_offloaded_again(folder: Path) -> None:
    pipe = sf.load(folder, device="cpu", offload=True)
    again = pickle.loads(pickle.dumps(pipe))
    assert all_absent(again)
    assert np.array_equal(pixels(again), pixels(pipe))


def test_threads_share_an_offloaded_pipeline(folder: Path) -> None:
    pipe = sf.load(folder, device="cpu", offload=True)
    wanted = [pixels(pipe, seed=seed) for seed in range(3)]
    drawn: dict[int, np.ndarray] = {}

    def draw(seed: int) -> None:
        drawn[seed] = pixels(pipe, seed=seed)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(drawn[seed], wanted[seed]) for seed in range(3))
    assert all_absent(pipe)


def test_a_job_that_is_closed_frees_its_part(folder: Path) -> None:
    pipe = sf.load(folder, device="cpu", offload=True)
    job = pipe.job("a tree", **DRAWN)
    assert any(isinstance(event, Step) and not all_absent(pipe) for event in job)
    job.close()
    assert all_absent(pipe)
    job = pipe.job("a tree", **DRAWN)
    assert any(isinstance(event, Output) for event in job)


def test_the_parts_of_an_offloaded_pipeline_can_be_used_alone(folder: Path) -> None:
    plain, offloaded = (sf.load(folder, device="cpu", offload=offload) for offload in (False, True))
    frames = torch.rand(1, 1, 3, 32, 32) * 2 - 1
    step = next(offloaded.stream("a tree", **DRAWN))
    for pipe in (plain, offloaded):
        latents = pipe.codec.encode(frames)
        cond = pipe.stage.conditioner(["a tree"])
        x0 = pipe.stage.denoiser(step.x, step.at, cond)
        found = [latents, cond.tokens, x0, next(iter(pipe.codec.decode(latents)))]
        if pipe is plain:
            wanted = found
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert dtype_of(offloaded.stage.denoiser.net) == torch.float32


def test_a_record_says_that_it_was_offloaded_and_replays_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x.png")
    call = ["generate", "a tree", "-m", str(folder), "--device", "cpu", "--size", "64", "--steps", "2", "-q"]
    assert run([*call, "--offload", "-o", path]) == 0
    assert run(["inspect", path, "--format", "json"]) == 0
    assert run(["replay", path]) == 0
    shown = capsys.readouterr().out
    assert "identical" in shown
    assert '"offload": true' in shown


def test_what_is_small_stays_in_memory_and_says_so() -> None:
    with pytest.warns(NoEffectWarning, match="scenes is small and stays in memory: offload changes nothing"):
        pipe = sf.load(device="cpu", offload=True)
    assert not any(weight.is_meta for weight in pipe.stage.denoiser.parameters())


def test_a_compiled_network_is_not_offloaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError, match="a compiled network cannot be offloaded; leave out one of the two"):
        sf.load(folder, offload=True, compiled=True)
    assert run(["generate", "a", "-m", str(folder), "--offload", "--compile"]) == 2
    assert "--offload: a compiled network cannot be offloaded" in capsys.readouterr().err


# In a process of its own, whose peak begins with what drawing with a small model takes.
PEAKS = r"""
import re, sys
import scorefield as sf
def draw(folder, offload):
    sf.load(folder, device="cpu", cache=False, offload=offload)("a tree", size=64, steps=1, seed=0)
    return int(re.search(r"VmHWM:\s*(\d+) kB", open("/proc/self/status").read())[1]) * 1024
small, large = sys.argv[1:]
before = draw(small, False)
print(draw(large, True) - before, draw(large, False) - before)
"""


def write_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Write a model of random weights, and return the sizes of its networks in bytes, which are in float32."""
    monkeypatch.setattr(tiny, "UNET", replace(tiny.UNET, channels=192, context_width=384))
    monkeypatch.setattr(tiny, "KL", replace(tiny.KL, width=96, multipliers=(1, 2, 4, 4)))
    monkeypatch.setattr(tiny, "TEXT", replace(tiny.TEXT, width=384, layers=4))
    larger = {
        "unet": {"block_out_channels": [192, 384], "cross_attention_dim": 384},
        "vae": {"block_out_channels": [96, 192, 384, 384]},
        "text_encoder": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 4},
    }
    configs = {f"{part}/config.json": tiny.CONFIGS[f"{part}/config.json"] | sizes for part, sizes in larger.items()}
    monkeypatch.setattr(tiny, "CONFIGS", tiny.CONFIGS | configs)
    tiny.tiny_stable(folder)
    return [path.stat().st_size for path in folder.rglob("*.safetensors")]


@pytest.mark.slow  # beside other work the allocator kept up to 30 MB more or less of the same load
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_the_largest_part_and_not_the_sum(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Besides weights, drawing takes the same either way: it is measured without offloading, in the same process."""
    sizes = write_large(tmp_path / "large", monkeypatch)
    slack = min(sizes) // 2  # a part that is not freed adds twice that, at least
    call = [sys.executable, "-W", "ignore", "-c", PEAKS, folder, tmp_path / "large"]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    offloaded, kept = map(int, done.stdout.split())
    besides = kept - sum(sizes)
    assert 0 <= besides <= 96 << 20, (sizes, kept)
    assert offloaded <= max(sizes) + besides + slack, (sizes, offloaded, kept)
