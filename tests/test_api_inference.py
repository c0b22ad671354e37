"""Inside torch.inference_mode, as many programs run: a model loads, draws and can be left for gradients outside."""

from pathlib import Path

import numpy as np
import pytest
import torch
from docs.notebooks.tiny_stable import tiny_stable
from safetensors.torch import save_file

import scorefield as sf
from scorefield.api import Pipeline
from scorefield.core.level import Level

pytestmark = pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a LoRA for it and a word of it."""
    folder = tmp_path_factory.mktemp("files")
    tiny_stable(folder / "model")
    source, layer = torch.Generator().manual_seed(0), "lora_unet_down_blocks_0_resnets_0_conv1"
    down, up = torch.randn(2, 32, 3, 3, generator=source), torch.randn(32, 2, 1, 1, generator=source)
    save_file({f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}, folder / "lora.safetensors")
    save_file({"<birb>": torch.randn(1, 32, generator=source)}, folder / "birb.safetensors")
    return folder


def load(files: Path, dtype: str) -> Pipeline:
    loras, words = [files / "lora.safetensors"], [files / "birb.safetensors"]
    return sf.load(str(files / "model"), device="cpu", dtype=dtype, loras=loras, embeddings=words)


def drawn(pipe: Pipeline) -> np.ndarray:
    return np.asarray(pipe("a <birb>", size=64, steps=2, seed=3).image)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # in bfloat16 weights are packed
def test_a_model_loads_and_draws_in_inference_mode_as_outside(files: Path, dtype: str) -> None:
    outside = load(files, dtype)
    with torch.inference_mode():
        inside = load(files, dtype)
        picture = drawn(inside)
        assert (drawn(outside) == picture).all()
    assert (drawn(outside) == picture).all()
    assert (drawn(inside) == picture).all()


def test_what_was_loaded_in_inference_mode_has_gradients_outside(files: Path) -> None:
    with torch.inference_mode():
        model = load(files, "float32").system
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    model.stages[0].denoiser(x, Level(1.0, 1.0), model.stages[0].conditioner(["a <birb>"])).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.norm() > 0.1
