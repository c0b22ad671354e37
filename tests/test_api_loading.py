"""What is refused of a file is refused from names and shapes, before gigabytes of numbers are read."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from docs.notebooks.tiny_stable import tiny_stable
from safetensors.torch import load_file, save_file

import scorefield as sf
from scorefield.api import Pipeline, prepare
from scorefield.errors import DamagedError, RequestError, ScorefieldError, UnsupportedError
from scorefield.families.fill import _Weights
from scorefield.model.events import Loading
from scorefield.notes import HalfPrecisionWarning
from scorefield.request import parse
from scorefield.zoo import opened_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("numbers were read")

    monkeypatch.setattr(_Weights, "_filled", read)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"width": 60}, "width 60 is not a multiple of 8; use 56 or 64"),
        ({"sampler": "plumber"}, "unknown sampler 'plumber'"),
        ({"prompt": "a tree " * 60, "long_prompt": "refuse"}, "45 more than the 75"),
        ({"image": "nowhere.png"}, "the picture nowhere.png does not exist"),
        ({"eta": 0.5, "sampler": "euler"}, "the sampler euler takes no eta"),
    ],
)
def test_what_a_model_cannot_draw_is_refused_before_its_weights_are_read(
    tiny: Path, asked: dict[str, object], why: str
) -> None:
    with pytest.raises(ScorefieldError) as caught:
        prepare(parse({"prompt": "a tree", "model": str(tiny), "device": "cpu", "size": "64", **asked}))
    assert why in str(caught.value)


@pytest.mark.usefixtures("unread")
def test_a_textual_inversion_of_another_model_is_refused_before_weights_are_read(tiny: Path, tmp_path: Path) -> None:
    save_file({"<birb>": torch.ones(768)}, tmp_path / "birb.safetensors")
    with pytest.raises(UnsupportedError, match="the word was learned with another model"):
        sf.load(str(tiny), device="cpu", embeddings=[str(tmp_path / "birb.safetensors")])


@pytest.mark.usefixtures("unread")
def test_a_lora_that_fits_no_layer_is_refused_before_weights_are_read(tiny: Path, tmp_path: Path) -> None:
    save_file({"lora_unet_odd.lora_down.weight": torch.ones(2, 9), "lora_unet_odd.lora_up.weight": torch.ones(9, 2)},
              tmp_path / "style.safetensors")  # fmt: skip
    with pytest.raises(ScorefieldError, match="names no layer of this model"):
        sf.load(str(tiny), device="cpu", loras=[str(tmp_path / "style.safetensors")])


@pytest.mark.usefixtures("unread")
def test_the_last_network_of_a_folder_is_tried_before_the_first_is_read(tmp_path: Path) -> None:
    encoder = next((tiny_stable(tmp_path) / "text_encoder").glob("*.safetensors"))
    held = load_file(encoder)
    name = next(name for name in held if name.endswith("final_layer_norm.weight"))
    save_file(held | {name: torch.ones(31)}, encoder)
    with pytest.raises(DamagedError, match=r"final_layer_norm.weight has shape \(31,\), where this network has \(32,"):
        sf.load(str(tmp_path), device="cpu")


def test_a_hollow_model_takes_what_the_whole_one_takes_whose_loading_is_told(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    filled = _Weights._filled

    def noted(self: _Weights, *given: object) -> object:
        read.append(self._hashed.removesuffix("."))
        return filled(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(_Weights, "_filled", noted)
    job = prepare(parse({"prompt": "a tree", "model": str(tiny), "device": "cpu", "size": "64", "steps": 2}))
    assert read == []
    assert [event.model for event in job if isinstance(event, Loading)] == [str(tiny)]
    assert read == ["U-Net", "autoencoder", "text tower"]  # once each
    pipe = Pipeline(job.system)
    assert not any(weight.is_meta for weight in pipe.stage.denoiser.net.parameters())


def test_a_model_is_named_by_a_path_and_by_what_torch_calls_device_and_dtype(tiny: Path) -> None:
    pipe = sf.load(tiny, device=torch.device("cpu"), dtype=torch.bfloat16, vae=tiny)
    assert (pipe.system.dtype, pipe.system.name, pipe.system.choice.vae) == (torch.bfloat16, *[str(tiny)] * 2)
    for asked in ({"dtype": torch.int8}, {"dtype": 16}, {"device": torch.device("meta")}, {"model": 3}):
        with pytest.raises(RequestError, match="must be"):
            sf.load(**{"model": tiny, **asked})  # type: ignore[arg-type]


def test_loading_takes_nothing_of_the_compiler_of_torch(tiny: Path) -> None:
    # Its import is more than a second, and drawing a number on the device "meta" needs it.
    code = "import sys, json, scorefield; scorefield.load(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, check=True)
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(json.loads(done.stdout))


def test_the_package_is_run_by_its_name_as_the_command_is() -> None:
    done = subprocess.run([sys.executable, "-m", "scorefield", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("scorefield ")


@pytest.mark.parametrize("has", [True, False])
def test_a_processor_without_bfloat16_says_that_it_is_slow(
    has: bool, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened_model, "has_bfloat16", lambda device: has)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for dtype in ("float32", "bfloat16"):
            sf.load(tiny, device="cpu", dtype=dtype)
    told = [str(one.message) for one in caught if issubclass(one.category, HalfPrecisionWarning)]
    line = "this processor has no bfloat16 arithmetic, and emulates it 10 to 100 times slower than float32"
    assert told == ([] if has else [line])
