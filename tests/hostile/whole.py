"""Whole files, which the cases damage: a small Stable Diffusion in every form, what changes it, a record, a run."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from scorefield.cli import main
from scorefield.conversion.plan import conversion
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import EncoderConfig, TextConfig, TextEncoder
from scorefield.nets.kl import Kl, KlConfig
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.weights import key_map
from scorefield.weights.key_map import under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys

ROOT = Path(__file__).parents[2]
WIDTH = 32
TEXT = TextConfig(width=WIDTH, layers=1, heads=4, context_length=77, vocab_size=49408, end_id=49407)
NETWORKS = Networks(
    unet=UnetConfig(channels=WIDTH, multipliers=(1, 2), resblocks=1, depths=(1, 0), heads=4, context_width=WIDTH),
    kl=KlConfig(width=WIDTH, multipliers=(1, 1, 1, 1), resblocks=1),
    text=EncoderConfig(text=TEXT),
)
UNET = "model/unet/diffusion_pytorch_model.safetensors"
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def write(folder: Path) -> None:
    """One file (model.safetensors), its folder (model), a LoRA, words, pictures with records, and a training run."""
    _model(folder)
    lora = {f"{LAYER}.lora_down.weight": torch.ones(2, WIDTH), f"{LAYER}.lora_up.weight": torch.zeros(WIDTH, 2)}
    save_file(lora | {f"{LAYER}.alpha": torch.tensor(2.0)}, folder / "lora.safetensors", {"ss_network_dim": "2"})
    word = torch.zeros(2, WIDTH)
    save_file({"emb_params": word}, folder / "zorb.safetensors")
    torch.save({"string_to_param": {"*": word}, "name": "zorb", "step": 3}, folder / "zorb.pt")
    torch.save({"state_dict": load_file(folder / "lora.safetensors"), "global_step": 3}, folder / "lora.ckpt")
    unet = load_file(folder / UNET)
    torch.save(unet, folder / "unet.bin")
    torch.save(lora, folder / "old.bin", _use_new_zipfile_serialization=False)
    Image.new("RGB", (48, 40), (200, 90, 30)).save(folder / "start.png")
    _run("generate", "a red tree", "--steps", "1", "--seed", "3", "-q", "-o", str(folder / "drawn.png"))
    started = "generate", "a dog", "--steps", "2", "--seed", "4", "-q", "--image", str(folder / "start.png")
    _run(*started, "-o", str(folder / "started.png"))
    recipe = str(ROOT / "recipes" / "tiny.py")
    _run("train", recipe, "--steps", "3", "--log-every", "1", "--precision", "float32", "--output", str(folder / "run"))


def _model(folder: Path) -> None:
    source = torch.Generator().manual_seed(0)

    def drawn(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: 0.02 * torch.randn(tensor.shape, generator=source) for name, tensor in tensors.items()}

    with torch.device("meta"):
        nets = Unet(NETWORKS.unet), Kl(NETWORKS.kl), TextEncoder(NETWORKS.text)
    entries = (
        list(under("", "model.diffusion_model.", unet_keys.ldm(NETWORKS.unet))),
        list(under("", "first_stage_model.", kl_keys.ldm(NETWORKS.kl))),
        list(under("", "cond_stage_model.transformer.", clip_keys.transformers_text(TEXT, projected=False))),
    )
    held: dict[str, Tensor] = {}
    for net, listed in zip(nets, entries, strict=True):
        held |= key_map.write(listed, drawn(net.state_dict()))
    save_file({name: tensor.clone().contiguous() for name, tensor in held.items()}, folder / "model.safetensors")
    (folder / "model").mkdir()
    plan = conversion(folder / "model.safetensors", to="diffusers", networks=NETWORKS, prediction="eps")
    list(plan.run(folder / "model", None))


def _run(*args: str) -> None:
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main.run(list(args))
    assert code == 0, said.getvalue()


def record(picture: Path) -> dict[str, object]:
    """The record of a picture that was drawn here."""
    with Image.open(picture) as image:
        stored: dict[str, object] = json.loads(image.text["scorefield"])  # type: ignore[attr-defined]
    return stored
