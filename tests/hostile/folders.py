"""Hostile folders: the JSON and texts of a pipeline's parts, indexes of shards, and files that are none."""

import json
import os
import random
import shutil
from pathlib import Path

from tests.hostile.odd import ESCAPE, damaged, json_bytes, put, things
from tests.hostile.weights import MODEL

FILES = (
    "model_index.json", "unet/config.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json", "tokenizer/added_tokens.json",
    "tokenizer/vocab.json", "tokenizer/merges.txt",
    "unet/diffusion_pytorch_model.safetensors.index.json", "text_encoder/model.safetensors.index.json",
    "model_index.json.index.json", "tokenizer/tokenizer.json",
)  # fmt: skip
NAMES = (
    "_class_name", "prediction_type", "rescale_betas_zero_snr", "scaling_factor", "latents_mean", "latents_std",
    "shift_factor", "act_fn", "norm_eps",
    "num_attention_heads", "transformer_layers_per_block", "addition_embed_type", "class_embed_type",
    "projection_class_embeddings_input_dim", "beta_start",
    "num_train_timesteps", "trained_betas", "timestep_spacing", "image_encoder", "text_encoder_2", "../x",
    "unk_token", "pad_token", "model_max_length",
    "weight_map", "metadata", "safety_checker", "sample_size", "quantization_config", "auto_map", "_name_or_path",
)  # fmt: skip
SIZES = (
    "block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim", "in_channels",
    "out_channels", "transformer_layers_per_block",
    "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "vocab_size",
    "intermediate_size", "latent_channels", "image_size",
)  # fmt: skip
LARGE = (0, 1, 2, 5, 31, 64, 10**4, 10**6, 10**9, 2**31, 2**63 - 1, 10**19)


def _sizes(path: Path, rng: random.Random) -> None:
    """Sizes that are well formed and not those of the tensors."""
    config = json.loads(path.read_bytes())
    for name in rng.sample([name for name in SIZES if name in config or rng.random() < 0.1], rng.randint(1, 3)):
        large = rng.choice(LARGE)
        if isinstance(config.get(name), list):
            config[name] = rng.choice(
                (
                    [large] * len(config[name]),
                    [large] * 5000,
                    [32 * large, 64 * large],
                    config[name] * rng.choice((2, 500)),
                )
            )
        else:
            config[name] = large
        if name == "block_out_channels" and "down_block_types" in config and rng.random() < 0.7:
            for kinds in ("down_block_types", "up_block_types"):
                config[kinds] = (config[kinds] * len(config[name]))[: len(config[name])]
        if name == "hidden_size" and rng.random() < 0.7:
            config["intermediate_size"] = 4 * large
            config["cross_attention_dim"] = large
    put(path, json.dumps(config).encode())


def _index(folder: Path, rng: random.Random) -> dict[str, object]:
    """An index of shards over the one file of a part, with names that lead elsewhere."""
    weights = next(path for path in folder.iterdir() if path.suffix == ".safetensors")
    header = weights.read_bytes()
    names = [
        name for name in json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")]) if name != "__metadata__"
    ]
    shard = f"{weights.stem}-00001-of-00001.safetensors"
    weights.rename(folder / shard)
    elsewhere = (
        "../../../../etc/passwd", "/etc/passwd", "../vae/diffusion_pytorch_model.safetensors", "/dev/zero",
        "../../fifo", "..", "", ".", ESCAPE, "x" * 300,
        str((folder / shard).resolve()), "nowhere.safetensors", f"./{shard}", "\0", "config.json", "\ud800",
    )  # fmt: skip
    wrong = rng.choice(elsewhere)
    odd = rng.random() < 0.7
    few = rng.random() < 0.5
    return {
        "metadata": {"total_size": rng.choice((1, -1, 10**30))},
        "weight_map": {name: wrong if odd and (few or rng.random() < 0.1) else shard for name in names},
    }


def _special(path: Path, rng: random.Random) -> None:
    """Something else under the name of a file."""
    path.unlink(missing_ok=True)
    kind = rng.randrange(6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(
            rng.choice(
                (
                    "/dev/zero",
                    "/etc/passwd",
                    "/proc/self/mem",
                    "loop",
                    path.name,
                    "../../nowhere",
                    "/dev/stdin",
                    "/proc/self/environ",
                )
            )
        )
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        with path.open("wb") as file:
            file.truncate(2**33)  # takes no room on the disk
    elif kind == 4:
        path.write_bytes(b"\xff\xfe" + "{}".encode("utf-16-le"))
    else:
        path.touch(mode=0)


def _texts(path: Path, rng: random.Random) -> None:
    """The tokenizer's own files, which are long."""
    data = path.read_bytes()
    kind = rng.randrange(6)
    if kind == 0:
        data = damaged(data, rng)
    elif kind == 1:
        data = data.replace(b"\n", b"\n" + ESCAPE.encode(), 1)
    elif kind == 2:
        data = data[: rng.randrange(len(data))]
    elif kind == 3:
        lines = data.split(b"\n")
        rng.shuffle(lines)
        data = b"\n".join(lines)
    elif kind == 4:
        data = data + rng.choice(
            (b"\na b c d", b"\n\0 \0", b"\n" + b"a" * 10**6 + b" b", b"\n" * 10**5, b"\nzz qq", b"\n\xff \xfe")
        )
    elif path.suffix == ".json":
        vocab = json.loads(data)
        for word in rng.sample(list(vocab), 3):
            vocab[word] = rng.choice((10**9, -1, 1.5, "1", None, 2**63, [], 0, 10**30, float("nan")))
        data = json.dumps(vocab).encode()
    put(path, data)


def make(rng: random.Random, here: Path) -> list[str]:
    """Damage one file of a pipeline's folder, now and then two, and open it."""
    things(here)
    for name in dict.fromkeys(rng.choices(FILES, k=rng.choice((1, 1, 1, 2)))):
        path = here / "model" / name
        kind = rng.random()
        if kind < 0.08:
            _special(path, rng)
        elif kind < 0.12 and path.parent.name != "model":
            shutil.rmtree(path.parent, ignore_errors=True)
            if rng.random() < 0.5:
                path.parent.symlink_to(rng.choice(("../folder", "../loop", "../fifo", "/", "../model", "/proc/self")))
        elif path.is_symlink() or not path.parent.is_dir() or (path.exists() and not path.is_file()):
            continue
        elif path.name.endswith("safetensors.index.json"):
            held = (
                _index(path.parent, rng)
                if list(path.parent.glob("*.safetensors")) and not list(path.parent.glob("*-of-*"))
                else {}
            )
            put(
                path,
                json.dumps(held).encode("utf-8", "surrogatepass")
                if rng.random() < 0.7
                else json_bytes(held, rng, NAMES),
            )
        elif path.name in ("vocab.json", "merges.txt") and path.exists():
            _texts(path, rng)
        elif path.name == "config.json" and kind < 0.55:
            _sizes(path, rng)
        else:
            put(path, json_bytes(json.loads(path.read_bytes()) if path.exists() else {"a": 1}, rng, NAMES))
    return rng.choice((
        [*MODEL, "model"], [*MODEL, "model"], [*MODEL, "model"], ["inspect", "model"],
        ["inspect", "model", "--format", "json"],
        ["convert", "model", "out.safetensors"], ["convert", "model", "out", "--to", "diffusers"],
        [*MODEL, "model", "--variant", "fp16"],
        ["convert", "model/unet", "out.safetensors"], ["inspect", "model/vae"],
        [*MODEL, "model", "--vae", "model/vae"], [*MODEL, "model", "--vae", "model"],
        [*MODEL, "model", "--dry-run"],
    ))  # fmt: skip
