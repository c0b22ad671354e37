"""Hostile files of weights: headers that lie, cut and changed bytes, other kinds of files under their names."""

import gzip
import io
import json
import random
import zipfile
from pathlib import Path

from tests.hostile.odd import ESCAPE, damaged, put
from tests.hostile.whole import LAYER, UNET

MODEL = ("generate", "a dog", "--steps", "1", "--size", "64", "-o", "out.png", "-m")
SIZES = (0, 1, -1, 2, 3, 32, 2**20, 2**31, 2**33, 2**62, 2**63, 2**64, 10**30, 1.5, "2", None, True, [2])
NAMES = (
    "", "a", ESCAPE, "x" * 5000, "../../x", "\ud800", f"{LAYER}.lora_down.weight", f"{LAYER}.alpha", "emb_params",
    "clip_l",
    "clip_g", "__metadata__", "lora_unet_ff.lora_up.weight", "conv_in.weight",
    "model.diffusion_model.input_blocks.0.0.weight",
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", f"{LAYER}.hada_w1_a", f"{LAYER}.diff",
    f"{LAYER}.dora_scale",
    "zero_snr", "v_pred", "edm_mean", "model_ema.decay", "cond_stage_model.model.ln_final.weight", f"{LAYER}.lokr_w1",
)  # fmt: skip
DTYPES = (
    "F32",
    "F16",
    "BF16",
    "F64",
    "I64",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F8_E5M2",
    "F4",
    "Q4",
    "",
    "f32",
    ESCAPE,
    None,
    3,
)
METADATA = (
    "format", "ss_network_alpha", "ss_network_dim", "ss_base_model_version", "modelspec.architecture", "scorefield",
    "modelspec.prediction_type", "lora_adapter_metadata", ESCAPE,
)  # fmt: skip
PLAIN = (
    b"", b"\0", b"GGUF\3\0\0\0" + b"\xff" * 40, b"GGUF" + bytes(60), b"<!DOCTYPE html><title>\x1b[31m</title>", b"{}",
    b"\x80\x02.",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:\x1b[31m\nsize 9\n", b"PK\x05\x06" + bytes(18),
    b"\x93NUMPY\1\0",
    b"\x89HDF\r\n\x1a\n", b"\x7fELF" + bytes(60), b"%PDF-1.4", b"\xff\xd8\xff\xe0", b"Rar!\x1a\x07",
    "kürbis\x1b[2J".encode(),
    b"\xff" * 8 + b"{}", (2**40).to_bytes(8, "little") + b"{}", (99_999_999).to_bytes(8, "little") + b'{"a":' * 20,
    b"#!/bin/sh\ntouch sprung\n",
)  # fmt: skip


def _header(data: bytes) -> tuple[dict[str, object], bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _entry(rng: random.Random, end: int) -> dict[str, object]:
    shape = rng.choice(
        ([], [2], [2, 2], [1, 1, 1, 1], [0], [2**31, 2**31, 2**31], [2**62, 0], [1] * 200, [rng.choice(SIZES)])
    )
    offsets = rng.choice(
        ([0, end], [0, 0], [end, end], [end, 0], [-1, 4], [0, 2**63], [0, 2**64], [0], [], "ab", [0.0, 8.0])
    )
    return {"dtype": rng.choice(DTYPES), "shape": shape, "data_offsets": offsets}


def lying(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header is changed in one to three ways, most often so that it still parses."""
    header, numbers = _header(data)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(header) or ["a"])
        entry = header.get(name)
        kind = rng.randrange(9)
        if kind == 0:
            header[rng.choice(NAMES)] = _entry(rng, len(numbers))
        elif kind == 1:
            header[rng.choice(NAMES)] = header.pop(name, None)
        elif kind == 2:
            header.pop(name, None)
        elif kind == 3:
            header["__metadata__"] = {rng.choice(METADATA): _told(rng) for _ in range(3)}
        elif kind == 4:
            header["__metadata__"] = rng.choice(([], {"a": 1}, "a", None, {"a": None}))
        elif isinstance(entry, dict) and isinstance(entry.get("shape"), list):
            if kind == 5:
                entry["dtype"] = rng.choice(DTYPES)
            elif kind == 6:
                entry["shape"] = rng.choice(
                    ([*entry["shape"], 1], entry["shape"][::-1], entry["shape"][1:], [rng.choice(SIZES)])
                )
            elif kind == 7:
                entry["shape"] = [rng.choice(SIZES) for _ in entry["shape"]]
            else:
                entry["data_offsets"] = _entry(rng, len(numbers))["data_offsets"]
    text = json.dumps(header)
    if rng.random() < 0.1:
        first = next(iter(header), "a")
        text = f"{text[:-1]}, {json.dumps(first)}: {json.dumps(_entry(rng, len(numbers)))}}}"
    if rng.random() < 0.05:
        text = rng.choice(
            ('{"a":' * 100_000, "[" * 100_000, text + " " * 100_000, "{}", "[]", text.replace("{", "{{", 1))
        )
    told = text.encode()
    numbers = numbers if rng.random() < 0.85 else numbers[: rng.randrange(len(numbers) + 1)]
    return len(told).to_bytes(8, "little") + told + numbers


def _told(rng: random.Random) -> str:
    return rng.choice((
        "", ESCAPE, "v", "v_prediction", "1e400", "nan", "-1", "0", "{", "[]", '{"r": 0}', '{"kind": "clip"}',
        '{"kind": 3}', "[" * 5000,
        '{"kind": "\\u001b[31m"}', '{"kind": "generator", "config": {"width": 1000000000}, "notes": {}}', "9" * 6000,
        "sdxl_base_v1-0",
        '{"unet.lora_alpha": NaN, "unet.r": 1e400}', '{"unet.alpha_pattern": {"(a+)+$": 1}}', "\ud800", "x" * 100_000,
    ))  # fmt: skip


def _zipped(data: bytes, rng: random.Random) -> bytes:
    """An archive of torch.save with one record changed, compressed, doubled or left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        wrong, kind = rng.choice(names), rng.randrange(6)
        for name in names:
            held = old.read(name)
            if name == wrong:
                if kind == 0:
                    continue
                if kind == 1:
                    held = damaged(held, rng)
                if kind == 2:
                    new.writestr(name, bytes(3_000_000), zipfile.ZIP_DEFLATED)
                    continue
                if kind == 3:
                    new.writestr(rng.choice(("../../x", "/etc/x", ESCAPE, name + "x", "constants.pkl")), held)
                if kind == 4:
                    new.writestr(name.replace("data", "code"), held)
                if kind == 5:
                    held = held[: len(held) // 2]
            new.writestr(name, held)
    return out.getvalue()


def _wrong(data: bytes, rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.08:
        return rng.choice(PLAIN)
    if kind < 0.1:
        return gzip.compress(data[:100_000])
    if data[:4] == b"PK\x03\x04":
        return _zipped(data, rng) if kind < 0.7 else damaged(data, rng)
    if data[:2] == b"\x80\x02" or kind < 0.25:
        return damaged(data, rng)
    return lying(data, rng)


def make(rng: random.Random, here: Path) -> list[str]:
    """Damage one file of weights and open it."""
    name = rng.choice(
        ("model.safetensors", UNET, UNET, "lora.safetensors", "lora.safetensors", "zorb.safetensors", "zorb.pt",
        "lora.ckpt", "unet.bin",
         "old.bin", "model/text_encoder/model.safetensors", "model/vae/diffusion_pytorch_model.safetensors")
    )  # fmt: skip
    put(here / name, _wrong((here / name).read_bytes(), rng))
    if rng.random() < 0.15:  # under the name of another kind
        other = Path(name).with_suffix(rng.choice((".safetensors", ".ckpt", ".pt", ".bin", ".pth", ".png", ".x")))
        (here / name).rename(here / other)
        name = str(other)
    return opened(name, rng)


def opened(name: str, rng: random.Random) -> list[str]:
    """A command that reads the file of that name, most often as what it was."""
    uses = [
        ["inspect", name], ["inspect", name, "--format", "json"], [*MODEL, name],
        ["convert", name, "out.safetensors", "--to", "ldm"],
        ["convert", name, "out", "--prediction", "eps"], [*MODEL, "model", "--vae", name],
        [*MODEL, "model", "--lora", name],
        [*MODEL, "model", "--embedding", f"zorb={name}"], ["generate", "a tree", "--steps", "1", "--lora", name],
        ["generate", "a zorb", "--steps", "1", "--embedding", name], ["replay", name],
        ["convert", "model", "out.safetensors", "--lora", name],
    ]  # fmt: skip
    if rng.random() < 0.25:
        return rng.choice(uses)
    if name.startswith("model/"):
        return rng.choice(
            ([*MODEL, "model"], [*MODEL, "model"], ["inspect", "model"], ["convert", "model", "out.safetensors"])
        )
    if name.startswith(("lora", "old")):
        return rng.choice((uses[0], uses[6], uses[6], uses[11], [*MODEL, "model", "--lora", f"{name}:0.5"]))
    if name.startswith("zorb"):
        return rng.choice((uses[1], uses[7], uses[9], [*MODEL, "model", "--embedding", name]))
    return rng.choice((uses[0], uses[1], uses[2], uses[3], uses[4], uses[5]))
