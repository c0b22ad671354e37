"""The embedded model: put together from its files, and one clear line for whatever is wrong with one of them."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from tests.loading import load
from torch import Tensor, nn

from scorefield import zoo
from scorefield.errors import DamagedError, MissingError, RequestError
from scorefield.families.scenes import build_scenes
from scorefield.input_files import Json
from scorefield.latent.scenes_codec import Codec
from scorefield.model.system import Place, System
from scorefield.nets.autoencoder import Autoencoder, AutoencoderConfig
from scorefield.nets.clip import Clip, ClipConfig, TextConfig, VisionConfig
from scorefield.nets.dit import Dit, DitConfig
from scorefield.prompt.text import TextConditioner
from scorefield.prompt.tokenizer import build
from scorefield.request import ModelChoice
from scorefield.weights import scorefield_file

CPU = torch.device("cpu")
WORDS = ["a", "tree", "in", "the", "desert", "car"]
AUTOENCODER = AutoencoderConfig(channels=4, width_quarter=16, width_eighth=16, width_half=8)
CLIP = ClipConfig(
    vision=VisionConfig(width=16, layers=1, heads=2, patch_size=16, image_size=32),
    text=TextConfig(width=16, layers=1, heads=2, vocab_size=4 + len(WORDS), end_id=1),
    embed_dim=8,
)
DIT = DitConfig(channels=4, width=32, depth=1, heads=2, text_width=16, refiner_depth=1, time_features=16)
WEIGHTS = (build_scenes.AUTOENCODER, build_scenes.CLIP, build_scenes.GENERATOR)
KINDS = dict(zip(WEIGHTS, ("autoencoder", "clip", "generator"), strict=True))


def _drawn(module: nn.Module) -> nn.Module:
    """Weights that float16 holds exactly, and none of them zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            value.copy_(torch.randn(value.shape, generator=generator).mul(0.2).half())
    return module.eval().requires_grad_(False)


def _modules() -> dict[str, nn.Module]:
    codec = Codec(Autoencoder(AUTOENCODER))
    _drawn(codec)
    codec.scale.copy_(torch.tensor([0.5, 1.0, 2.0, 0.25]))
    return {
        build_scenes.AUTOENCODER: codec,
        build_scenes.CLIP: _drawn(Clip(CLIP)),
        build_scenes.GENERATOR: _drawn(Dit(DIT)),
    }


def _write(folder: Path) -> Path:
    configs = (asdict(AUTOENCODER), asdict(CLIP), asdict(DIT))
    for (name, module), config in zip(_modules().items(), configs, strict=True):
        notes: dict[str, Json] = {"knows": {"things": ["tree", "car"]}} if name == build_scenes.GENERATOR else {}
        header = scorefield_file.Header(kind=KINDS[name], config=config, step=3, notes=notes)
        scorefield_file.save(folder / name, module.state_dict(), header)
    build(WORDS).save(folder / build_scenes.TOKENIZER)
    return folder


def _load(folder: Path, dtype: torch.dtype = torch.float32) -> System:
    choice = ModelChoice(device="cpu", dtype=str(dtype).removeprefix("torch."))
    return build_scenes.scenes(Place(device=CPU, dtype=dtype), choice, folder)


def _parts(model: System) -> dict[str, nn.Module]:
    """The modules of a model by the files that they came from."""
    assert isinstance(model.stages[0].codec.pictures, Codec)
    assert isinstance(model.stages[0].conditioner, TextConditioner)
    parts = (model.stages[0].codec.pictures, model.stages[0].conditioner.clip, model.stages[0].denoiser.net)
    return dict(zip(WEIGHTS, parts, strict=True))


def _saved_with(path: Path, change: Callable[[dict[str, Json]], object]) -> None:
    """The file again, its configuration changed."""
    tensors, header = scorefield_file.load(path, KINDS[path.name])
    config = dict(header.config)
    change(config)
    scorefield_file.save(path, tensors, scorefield_file.Header(kind=header.kind, config=config))


def _x0(model: System, prompt: str, seed: int = 0) -> Tensor:
    """One question at pure noise and one half-way, decoded: (3, 32, 32)."""
    x = torch.randn(1, *model.stages[0].codec.pictures.shape(32, 32), generator=torch.Generator().manual_seed(seed))
    cond = model.stages[0].conditioner([prompt])
    for lam in (-torch.inf, 0.0):
        at = model.stages[0].spec.gauge(torch.tensor(lam))
        x = at.alpha * model.stages[0].denoiser(x, at, cond) + at.sigma * x
    return model.stages[0].codec.pictures.decode(x)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("parts"))


def test_a_model_is_put_together_from_its_files(folder: Path) -> None:
    model, modules = _load(folder), _modules()
    pixels = _x0(model, "a tree in the desert")
    assert pixels.isfinite().all()
    assert pixels.shape == (3, 32, 32)
    assert (pixels - _x0(model, "a car")).abs().max() > 1e-3
    for name, part in _parts(model).items():
        held, wanted = part.state_dict(), modules[name].state_dict()
        assert held.keys() == wanted.keys()
        assert all(value.isfinite().all() for value in held.values())
        assert [key for key in held if not torch.equal(held[key], wanted[key])] == []
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())


def test_its_denoiser_is_the_flow_of_its_network(folder: Path) -> None:
    model, net = _load(folder), _modules()[build_scenes.GENERATOR]
    x, cond = torch.randn(1, *model.stages[0].codec.pictures.shape(32, 32)), model.stages[0].conditioner(["a tree"])
    at = model.stages[0].spec.gauge(torch.tensor(0.3))
    x0 = model.stages[0].denoiser(x, at, cond)
    flow = net(x, torch.tensor([1000.0 * at.sigma]), tokens=cond.tokens, mask=cond.mask)
    assert x0.isfinite().all()
    torch.testing.assert_close(x0, x - at.sigma * flow)


def test_the_spec_says_what_the_file_knows(folder: Path) -> None:
    model = _load(folder)
    assert model.stages[0].spec == build_scenes.spec(folder)
    assert model.stages[0].spec.knows == {"things": ["tree", "car"]}


@pytest.mark.parametrize("name", build_scenes.FILES)
def test_a_change_in_any_file_of_the_model_changes_its_hash(folder: Path, name: str) -> None:
    before = _load(folder).sha256
    assert _load(folder).sha256 == before
    path = folder / name
    if name == build_scenes.TOKENIZER:
        path.write_text(path.read_text() + "\n")
    else:
        tensors, header = scorefield_file.load(path, scorefield_file.read_header(path).kind)
        scorefield_file.save(path, tensors, replace(header, step=header.step + 1))
    assert _load(folder).sha256 != before


def test_in_bfloat16_the_text_encoder_and_the_statistics_stay_in_float32(folder: Path) -> None:
    model, plain = _load(folder, torch.bfloat16), _load(folder)
    assert isinstance(model.stages[0].codec.pictures, Codec)
    assert model.stages[0].denoiser.dtype == model.stages[0].codec.pictures.dtype == model.dtype == torch.bfloat16
    assert model.stages[0].codec.pictures.scale.dtype == torch.float32
    assert {value.dtype for value in _parts(model)[build_scenes.CLIP].state_dict().values()} == {torch.float32}
    pixels, wanted = _x0(model, "a tree"), _x0(plain, "a tree")
    assert pixels.isfinite().all()
    assert pixels.dtype == torch.float32
    assert 0 < (pixels - wanted).abs().max() < 0.1


def test_words_that_it_never_saw_are_named_with_the_nearest(folder: Path) -> None:
    assert _load(folder).stages[0].conditioner.unknown(["a tre", "a car"]) == {"tre": ["tree", "the"]}


def test_two_threads_with_one_model_get_what_one_gets(folder: Path) -> None:
    model = _load(folder)
    asked = [(prompt, seed) for seed in range(8) for prompt in ("a tree", "a car in the desert")]
    alone = [_x0(model, *one) for one in asked]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda one: _x0(model, *one), asked))
    assert all(one.isfinite().all() for one in alone)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_loading_draws_no_random_number(folder: Path) -> None:
    before = torch.get_rng_state()
    _load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_loading_does_not_load_torchs_compiler(folder: Path) -> None:
    code = f"""
import pathlib, sys, torch
from scorefield.families.scenes.build_scenes import scenes
from scorefield.model.system import Place
from scorefield.request import ModelChoice
scenes(Place(device=torch.device("cpu"), dtype=torch.float32), ModelChoice(), pathlib.Path({str(folder)!r}))
sys.exit("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "a second of every start goes into modules that nobody uses"


@pytest.mark.parametrize("name", build_scenes.FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    _write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingError) as caught:
        _load(tmp_path)
    assert str(caught.value) == f"{tmp_path / name}: no such file or folder"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "alien"])
@pytest.mark.parametrize("name", build_scenes.FILES)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, name: str, damage: str) -> None:
    path = _write(tmp_path) / name
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[-60 if name == build_scenes.TOKENIZER else -20] ^= 0x40
    path.write_bytes({"cut": data[:-30], "flipped": bytes(flipped), "empty": b"", "alien": b'{"a": 1}'}[damage])
    with pytest.raises(DamagedError) as caught:
        _load(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_file_of_another_part_says_so(tmp_path: Path, name: str) -> None:
    _write(tmp_path)
    other = WEIGHTS[WEIGHTS.index(name) - 1]
    (tmp_path / name).write_bytes((tmp_path / other).read_bytes())
    with pytest.raises(DamagedError) as caught:
        _load(tmp_path)
    assert str(caught.value) == f"{tmp_path / name} holds a {KINDS[other]}, not a {KINDS[name]}"


def test_a_tokenizer_of_other_words_does_not_fit_the_text_encoder(tmp_path: Path) -> None:
    path = _write(tmp_path) / build_scenes.TOKENIZER
    build([*WORDS, "cat"]).save(path)
    with pytest.raises(DamagedError, match="the tokenizer knows 11 tokens, the text encoder 10") as caught:
        _load(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda config: config.popitem(), "is missing"),
        (lambda config: config.update(wings=2), "wings is unknown"),
        (lambda config: config.update(dict.fromkeys(config, "many")), "'many'|is missing"),
    ],
    ids=["missing", "unknown", "of another type"],
)
def test_a_configuration_of_another_version_is_one_line(
    tmp_path: Path, name: str, change: Callable[[dict[str, Json]], object], told: str
) -> None:
    path = _write(tmp_path) / name
    _saved_with(path, change)
    with pytest.raises(DamagedError, match=told) as caught:
        _load(tmp_path)
    assert str(caught.value).startswith(f"{path} was made by another version of scorefield")


def test_an_encoder_of_another_version_is_one_line_too(tmp_path: Path) -> None:
    path = _write(tmp_path) / build_scenes.CLIP

    def change(config: dict[str, Json]) -> None:
        config["text"] = {**asdict(CLIP.text), "wings": 2}

    _saved_with(path, change)
    with pytest.raises(DamagedError, match="wings is unknown"):
        _load(tmp_path)


def test_widths_that_cannot_be_are_one_line(tmp_path: Path) -> None:
    path = _write(tmp_path) / build_scenes.GENERATOR
    _saved_with(path, lambda config: config.update(width=33))
    with pytest.raises(DamagedError, match="width 33 over 2 heads"):
        _load(tmp_path)


def test_tensors_that_the_configuration_does_not_ask_for_are_named(tmp_path: Path) -> None:
    path = _write(tmp_path) / build_scenes.GENERATOR
    _saved_with(path, lambda config: config.update(depth=2))
    with pytest.raises(DamagedError, match=r"missing: blocks\.1\.") as caught:
        _load(tmp_path)
    assert str(caught.value).startswith(f"{path} does not fit its own configuration")


@pytest.mark.parametrize("name", ["scene", "Scenes", "sd15"])
def test_an_unknown_model_names_the_nearest(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(name)
    assert str(caught.value) == f"no model {name!r}; give scenes, a path, or owner/name on the Hugging Face hub"


def test_the_model_that_ships_loads_and_reads_every_word_of_its_grammar() -> None:
    (spec,) = zoo.available()
    model = load(device="cpu")
    assert model.stages[0].spec == spec
    assert model.stages[0].spec.name == "scenes"
    assert "tree" in spec.knows["things"]
    assert "in the desert" in spec.knows["places"]
    phrases = [phrase for phrases in spec.knows.values() for phrase in phrases]
    assert model.stages[0].conditioner.unknown(phrases) == {}
    cond = model.stages[0].conditioner(["a tree in the desert"])
    defaults = spec.defaults
    shape = model.stages[0].codec.pictures.shape(defaults.width, defaults.height)
    x0 = model.stages[0].denoiser(torch.randn(1, *shape), spec.gauge(torch.tensor(0.0)), cond)
    assert x0.isfinite().all()
    assert x0.shape == (1, *shape)
