"""Published weights as they lie in their files, without the numbers: names and shapes, and a folder of a pipeline."""

import json
import lzma
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]

# Every name and shape of the reference networks at the published configurations, made on the meta device.
_READ = json.loads(lzma.decompress((Path(__file__).parent / "data" / "published_layouts.json.xz").read_bytes()))
PUBLISHED: dict[str, dict[str, list[int]]] = {name: layout["keys"] for name, layout in _READ.items()}
PARAMS: dict[str, int] = {name: layout["params"] for name, layout in _READ.items()}
H = "open_clip/ViT-H-14 (same names as OpenAI)"


def keys(name: str, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {prefix + key: tuple(shape) for key, shape in PUBLISHED[name].items()}


def tables() -> Shapes:
    return {"betas": (1000,), "alphas_cumprod": (1000,), "model_ema.decay": (), "model_ema.num_updates": ()}


def sd1() -> dict[str, tuple[int, ...]]:
    text = keys("hf/sd1/text_encoder", "cond_stage_model.transformer.text_model.")
    ids = {"cond_stage_model.transformer.text_model.embeddings.position_ids": (1, 77)}
    vae = keys("ldm/sd1,sd2 first_stage_model.", "first_stage_model.")
    return keys("ldm/sd1 model.diffusion_model.", "model.diffusion_model.") | vae | text | ids | dict(tables())


def sd2(unet: str = "ldm/sd2 model.diffusion_model.") -> dict[str, tuple[int, ...]]:
    text = {k: s for k, s in keys(H, "cond_stage_model.model.").items() if "visual" not in k}
    text["cond_stage_model.model.attn_mask"] = (77, 77)
    vae = keys("ldm/sd1,sd2 first_stage_model.", "first_stage_model.")
    return keys(unet, "model.diffusion_model.") | vae | text | dict(tables())


def unclip(kind: str) -> dict[str, tuple[int, ...]]:
    """The file of ViT-`kind`, h or l, with its whole CLIP, and the statistics of its vectors where it needs them."""
    clip = keys({"h": H, "l": "openai/ViT-L-14.pt"}[kind], "embedder.model.")
    known = {} if kind == "h" else {f"noise_augmentor.data_{name}": (1, 768) for name in ("mean", "std")}
    unet = sd2(f"ldm/sd21-unclip-{kind} model.diffusion_model.")
    return unet | clip | known | {"noise_augmentor.betas": (1000,)}


def sparse(path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None) -> Path:
    """A file of float16 zeros that takes no room on the disk."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    told = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        file.truncate(8 + len(told) + end)
    return path


def pipeline(folder: Path, prediction: str | None = "v_prediction") -> Path:
    """A folder as published, of the few tensors that tell a family."""
    index: dict[str, object] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.8.0"}
    index |= {"safety_checker": [None, None], "feature_extractor": ["transformers", "CLIPImageProcessor"]}
    index |= {"scheduler": ["diffusers", "DDIMScheduler"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "unet": ["diffusers", "UNet2DConditionModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"], "requires_safety_checker": False}
    unet = {"conv_in.weight": torch.zeros(320, 4, 3, 3), "x.attn2.to_k.weight": torch.zeros(2, 1024)}
    weights: dict[str, dict[str, Tensor]] = {
        "unet/diffusion_pytorch_model": unet, "vae/diffusion_pytorch_model": {"a": torch.zeros(3)},
        "text_encoder/model": {"b": torch.zeros(5)},
    }  # fmt: skip
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        (folder / name).mkdir(parents=True)
    for name, tensors in weights.items():
        save_file(tensors, folder / f"{name}.safetensors")
    config = {} if prediction is None else {"prediction_type": prediction}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
