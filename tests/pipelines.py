"""Pipelines of random weights that diffusers and transformers write to real files, and the pictures that they draw."""

import bz2
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import peer_networks
from torch import Tensor, nn

from scorefield.api import Pipeline
from scorefield.conversion.plan import conversion
from scorefield.core import noise
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.model.system import System
from scorefield.prompt.bpe import MERGES, ClipTokenizer
from scorefield.weights import key_map
from scorefield.weights.key_map import Entry, under
from scorefield.weights.key_maps import clip_keys as clip_maps
from scorefield.weights.key_maps import kl_keys as kl_maps
from scorefield.weights.key_maps import unet_keys as unet_maps

Pixels = np.ndarray[Any, np.dtype[np.int64]]

SIZE, STEPS, GUIDANCE = 64, 4, 3.0
PROMPT, NEGATIVE = "a red fox, in the Snow!", "blurry"


def zeroed(folder: Path, to: Path) -> Path:
    """A copy of a model's folder whose weights are all zero, the same on every machine."""
    shutil.copytree(folder, to)
    for path in to.rglob("*.safetensors"):
        save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}, path)
    return to


def randomised(module: nn.Module) -> nn.Module:
    """Every weight drawn, those too that start at 0 or 1."""
    source = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        drawn = torch.randn(weight.shape, generator=source)
        if weight.ndim < 2:
            weight.data = 0.1 * drawn + float(name.endswith("weight"))
        else:
            weight.data = drawn * (0.1 if "embed" in name else weight[0].numel() ** -0.5)
    return module.eval().requires_grad_(False)


def written(folder: Path, networks: Networks, prediction: str) -> Any:
    """A pipeline of random weights in `folder`/model, by diffusers and transformers alone."""
    made = diffusers.StableDiffusionPipeline(
        unet=randomised(_blank(lambda: peer_networks.unet(networks.unet))),
        vae=randomised(_blank(lambda: peer_networks.kl(networks.kl))),
        text_encoder=randomised(peer_networks.text(networks.text)),
        tokenizer=tokenizer(folder / "words", pad="!" if networks.openclip else "<|endoftext|>"),
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            steps_offset=1, set_alpha_to_one=False, prediction_type=prediction,
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.save_pretrained(folder / "model")
    made.set_progress_bar_config(disable=True)
    return made


def written_xl(folder: Path, networks: Networks) -> Any:
    """The same of Stable Diffusion XL."""
    assert networks.text_2 is not None
    vae = randomised(peer_networks.kl(networks.kl))
    vae.register_to_config(scaling_factor=0.13025)  # type: ignore[operator]
    for name in ("one", "two"):
        (folder / name).mkdir()
    made = diffusers.StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=randomised(peer_networks.text(networks.text)),
        text_encoder_2=randomised(peer_networks.text(networks.text_2)),
        tokenizer=tokenizer(folder / "one" / "words", pad="<|endoftext|>"),
        tokenizer_2=tokenizer(folder / "two" / "words", pad="!"),
        unet=randomised(peer_networks.unet(networks.unet, sdxl=True)),
        scheduler=scheduler("EulerDiscreteScheduler", "epsilon"),
        add_watermarker=False,
    )
    made.save_pretrained(folder / "model")
    made.set_progress_bar_config(disable=True)
    return made


def _blank(build: Callable[[], nn.Module]) -> nn.Module:
    """A module whose weights nobody has drawn yet."""
    with torch.device("meta"):
        return build().to_empty(device="cpu")


def tokenizer(folder: Path, pad: str) -> Any:
    """transformers' tokenizer of the shipped merges, read from files as published."""
    folder.mkdir()
    (folder / "merges.txt").write_bytes(bz2.decompress(MERGES.read_bytes()))
    (folder / "vocab.json").write_text(json.dumps(ClipTokenizer.packaged().tokenizer.get_vocab()), encoding="utf-8")
    return transformers.CLIPTokenizer.from_pretrained(folder, pad_token=pad, model_max_length=77)


def as_one_file(path: Path, model: System, networks: Networks) -> None:
    """The weights of `model` as one ldm file, with the tables and the averaged copy that training leaves in it."""
    vae = model.stages[0].codec.pictures.autoencoder
    parts: list[tuple[list[Entry], dict[str, Tensor]]] = [
        (_under("model.diffusion_model.", unet_maps.ldm(networks.unet)), model.stages[0].denoiser.net.state_dict()),
        (_under("first_stage_model.", kl_maps.ldm(networks.kl)), vae.state_dict()),
    ]
    text = model.stages[0].conditioner.encoder.state_dict()  # type: ignore[attr-defined]
    if networks.openclip is None:
        listed = clip_maps.transformers_text(networks.text.text, projected=False)
        parts.append((_under("cond_stage_model.transformer.", listed), text))
    else:  # one block and a projection more, which drawing does not use
        last, width = networks.openclip.text.layers - 1, networks.openclip.text.width
        copied, before = f"blocks.{last}.", f"blocks.{last - 1}."
        text |= {name.replace(before, copied): value + 1 for name, value in text.items() if name.startswith(before)}
        text |= {"projection.weight": torch.ones(width, width)}
        listed = clip_maps.openai_text(networks.openclip.text)
        parts.append((_under("cond_stage_model.model.", listed), text))
    held = {name: tensor for listed, ours in parts for name, tensor in key_map.write(listed, ours).items()}
    held |= {"betas": torch.ones(9), "model_ema.diffusion_modelout2bias": torch.ones(4)}
    held |= {"cond_stage_model.model.attn_mask": torch.ones(77, 77)} if networks.openclip else {}
    save_file({name: _alone(tensor.contiguous()) for name, tensor in held.items()}, path)


def there_and_back(source: Path, networks: Networks, folder: Path) -> tuple[Path, Path]:
    """A model as one file, and that file as a diffusers folder, both in `folder`."""
    file, back = folder / "one.safetensors", folder / "back"
    list(conversion(source, to="ldm", networks=networks).run(file, None))
    back.mkdir()
    list(conversion(file, to="diffusers", networks=networks).run(back, None))
    return file, back


def assert_same_weights(again: Any, peer: Any, *parts: str) -> None:
    """Two pipelines of diffusers have the same tensors, to the bit; the first's come to lie in memory of their own.

    Arithmetic on a mapped file, whose tensors begin anywhere, may round otherwise.
    """
    again.set_progress_bar_config(disable=True)
    for name in parts:
        for weight in getattr(again, name).parameters():
            weight.data = weight.data.clone()
        weights, wanted = getattr(again, name).state_dict(), getattr(peer, name).state_dict()
        assert weights.keys() == wanted.keys()
        assert all(wanted[key].isfinite().all() and torch.equal(weights[key], wanted[key]) for key in wanted)


def _alone(tensor: Tensor) -> Tensor:
    """A tensor that shares its memory with no other, as safetensors wants it."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _under(prefix: str, listed: Iterator[Entry]) -> list[Entry]:
    return list(under("", prefix, listed))


def drawn(
    model: System, sampler: str, schedule: str, prompt: str = PROMPT, *,
    negative: str = NEGATIVE, width: int = SIZE, height: int = SIZE, steps: int = STEPS, **given: Any,
) -> Pixels:  # fmt: skip
    """Our picture (H, W, 3) of values from 0 to 255."""
    picture = Pipeline(model)(
        prompt, negative_prompt=negative, width=width, height=height, steps=steps, guidance=GUIDANCE, seed=7,
        sampler=sampler, schedule=schedule, **given,
    ).image  # fmt: skip
    return np.asarray(picture).astype(int)


def drawn_there(
    peer: Any, scheduler: Any, prompt: str = PROMPT, *,
    negative: str = NEGATIVE, width: int = SIZE, height: int = SIZE, steps: int = STEPS, **given: Any,
) -> Pixels:  # fmt: skip
    """diffusers' picture from our noise: where it starts from the largest sigma, not from the whole deviation there."""
    peer.scheduler = scheduler
    scheduler.set_timesteps(steps)
    sigmas = getattr(scheduler, "sigmas", None)
    start = math.hypot(1, float(sigmas[0])) if scheduler.init_noise_sigma != 1 else 1
    x = noise.initial([7], (4, height // 8, width // 8)) * float(start / scheduler.init_noise_sigma)
    picture = peer(
        prompt=prompt, negative_prompt=negative or None, height=height, width=width, num_inference_steps=steps,
        guidance_scale=GUIDANCE, latents=x, **given,
    ).images[0]  # fmt: skip
    return np.asarray(picture).astype(int)


def scheduler(name: str, prediction: str, **options: object) -> Any:
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return getattr(diffusers, name)(**betas, prediction_type=prediction, **options)


SAMPLERS = {
    # The end of its last step is ours, clean; the published setting leaves the noise of rung 0 in the picture.
    "ddim": ("DDIMScheduler", "ddim_uniform", {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": True}),
    "euler": ("EulerDiscreteScheduler", "trailing", {"timestep_spacing": "trailing"}),
    "heun": ("HeunDiscreteScheduler", "trailing", {"timestep_spacing": "trailing"}),
    "lms": ("LMSDiscreteScheduler", "trailing", {"timestep_spacing": "trailing"}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", "trailing", {"timestep_spacing": "trailing"}),
    "unipc": ("UniPCMultistepScheduler", "trailing", {"timestep_spacing": "trailing"}),
}
