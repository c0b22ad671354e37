"""LoRAs beside diffusers and PEFT: of the same file, the text encoder and the U-Net answer as theirs do."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from docs.notebooks.tiny_stable import tiny_stable
from tests import peer_loras
from tests.loading import load, with_loras
from tests.networks import relative_error
from tests.peer_loras import RANK, layers, text_names, trained, unet_names

from scorefield.model.system import System
from scorefield.weights.lora.merge import Scales

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*_pattern keys did not match:RuntimeWarning"),  # of those of the other network
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),  # of the second of two
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> System:
    return load(str(folder), device="cpu")


@pytest.fixture
def peer(folder: Path) -> Any:
    """The same weights in diffusers' own pipeline."""
    return diffusers.StableDiffusionPipeline(
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"),
        text_encoder=transformers.CLIPTextModel.from_pretrained(folder / "text_encoder"),
        vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae"),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=diffusers.DDIMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


IDS = torch.randint(0, 49407, (2, 77), generator=torch.Generator().manual_seed(0))
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
TIME = torch.tensor([500.0, 20.0])


@torch.no_grad()
def errors(peer: Any, model: System) -> tuple[float, float]:
    """How far the hidden states are from diffusers', and the U-Net's output of the same states."""
    theirs = peer.text_encoder(IDS)[0]
    ours, _ = model.stages[0].conditioner.encoder.condition(IDS)  # type: ignore[attr-defined]
    words = relative_error(ours, theirs, least=0.1)
    return words, relative_error(
        model.stages[0].denoiser.net(X, TIME, tokens=theirs), peer.unet(X, TIME, theirs).sample, least=0.1
    )


def written(peer: Any, path: Path, seed: int = 0) -> Path:
    """A LoRA for every layer of both networks, as kohya's trainer writes it."""
    return peer_loras.written(path, unet_names(peer.unet), text_names(peer.text_encoder), seed=seed)


def close(peer: Any, model: System, changed: System) -> None:
    """The changed model is what diffusers has now, and the first one far from it: the LoRA does something."""
    assert max(errors(peer, changed)) <= 1e-5
    assert min(errors(peer, model)) > 0.1
    assert [one.unused for one in changed.loras] == [()] * len(changed.loras)


def test_a_file_of_kohyas_trainer_is_what_diffusers_makes_of_it(peer: Any, model: System, tmp_path: Path) -> None:
    path = written(peer, tmp_path / "a.safetensors")
    assert max(errors(peer, model)) <= 1e-5
    peer.load_lora_weights(path)
    close(peer, model, with_loras(model, [(str(path), Scales(1, 1))]))


@pytest.mark.parametrize(
    "settings",
    [{"use_rslora": True}, {"alpha_pattern": {"to_k": 2, "fc1": 1}, "rank_pattern": {"to_q": 2}}, {"use_dora": True}],
    ids=["rslora", "patterns", "dora"],
)
def test_what_peft_trains_and_diffusers_saves_is_the_same_here(
    peer: Any, model: System, tmp_path: Path, settings: dict[str, object]
) -> None:
    path = trained(peer, tmp_path, {"text_encoder": peer.text_encoder}, **settings)
    close(peer, model, with_loras(model, [(str(path), Scales(1, 1))]))


def test_a_file_of_diffusers_before_peft_is_read_as_they_read_it(peer: Any, model: System, tmp_path: Path) -> None:
    path, source, held = tmp_path / "pytorch_lora_weights.bin", torch.Generator().manual_seed(0), {}
    for name, layer in layers(peer.unet):
        if ".attn" in name:
            key = f"unet.{name.removesuffix('.0').replace('.to_', '.processor.to_')}_lora"
            outs, ins = layer.weight.shape
            held[f"{key}.down.weight"] = torch.randn(RANK, ins, generator=source) * ins**-0.5
            held[f"{key}.up.weight"] = torch.randn(outs, RANK, generator=source)
    torch.save(held, path)
    peer.load_lora_weights(tmp_path, weight_name=path.name)
    changed = with_loras(model, [(str(path), Scales(1, 1))])
    assert max(errors(peer, changed)) <= 1e-5
    assert errors(peer, model)[1] > 0.1
    assert changed.stages[0].conditioner.encoder.tokens is not None  # type: ignore[attr-defined]


def test_two_with_scales_of_their_own_are_what_diffusers_makes_of_them(
    peer: Any, model: System, tmp_path: Path
) -> None:
    one, two = written(peer, tmp_path / "a.safetensors"), written(peer, tmp_path / "b.safetensors", seed=1)
    peer.load_lora_weights(one, adapter_name="a")
    peer.load_lora_weights(two, adapter_name="b")
    peer.set_adapters(["a", "b"], [0.7, {"unet": -0.4, "text_encoder": 0.9}])
    close(peer, model, with_loras(model, [(str(one), Scales(0.7, 0.7)), (str(two), Scales(-0.4, 0.9))]))
