"""Hostile records in PNG files: fields of the wrong type, size or meaning, and texts that control a terminal."""

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from tests.hostile import whole
from tests.hostile.odd import ESCAPE, NUMBERS, TEXTS, json_text, leaf, things

NAMES = (
    "prompts", "prompt", "model", "steps", "seed", "width", "height", "size", "count", "batch_size", "loras",
    "embeddings", "image", "last_image", "mask", "image_prompt", "vae",
    "sampler", "schedule", "cfg_scale", "cfg_interval", "cfg_rescale", "eta", "noise", "strength", "fit", "tile",
    "dtype", "device", "weighting", "long_prompt",
    "clip_skip", "negative_prompt", "prediction", "variant", "ema", "frames", "fps", "exact_steps", "paste",
    "__class__", "noise_level", "version",
)  # fmt: skip
FILE = {"path": "start.png", "sha256": "0" * 64}
MEANT: tuple[Any, ...] = (
    "/dev/zero", "fifo", "../../../../etc/passwd", "http://localhost:1/x", "owner/name", "hf:owner/name@main:x.ckpt",
    "model", "model.safetensors", ESCAPE, "cuda:99", "meta", "cpu:7",
    "float64", 1000, 999, 4096, 10**9, -1, 2**64 - 1, 2**64, 1e300, [FILE], FILE, {"path": "fifo"},
    [{"path": "lora.safetensors", "unet": 1e300, "te": -1}], [{"path": ESCAPE}],
    [{"token": "zorb", "path": "zorb.pt"}], ["a"] * 1024, ["a " * 50_000], ["(" * 3000], [ESCAPE], [""], "karras",
    "dpmpp_2m_sde", "compel", "a1111", [0, 1e308], [5, -5], "chunks",
)  # fmt: skip


def _wild(record: dict[str, Any], rng: random.Random) -> None:
    """Fields of a request set to values that mean something, or that do not."""
    request = record["request"]
    for name in rng.sample(NAMES, rng.randint(1, 3)):
        kind = rng.random()
        request[name] = rng.choice(MEANT) if kind < 0.6 else leaf(rng) if kind < 0.8 else rng.choice((*NUMBERS, *TEXTS))
    if rng.random() < 0.3:
        name = rng.choice(("index", "sha256", "threads", "version", "scorefield", "seconds"))
        record[name] = rng.choice(
            (-1, 0, 1, 2, 1024, 1025, 10**9, 2**70, "0" * 64, "", ESCAPE, None, 1.5, True, [], "9", float("nan"))
        )


def make(rng: random.Random, here: Path) -> list[str]:
    """A picture with a record that is wrong, drawn again or inspected."""
    things(here)
    source = rng.choice(("drawn.png", "started.png"))
    record: dict[str, Any] = whole.record(here / source)
    if rng.random() < 0.6:
        _wild(record, rng)
        text = json.dumps(record)
    else:
        inner = rng.choice((record, record["request"]))
        text = json_text(inner, rng, NAMES)
        if inner is not record and rng.random() < 0.9:
            text = json.dumps(record | {"request": 0}).replace('"request": 0', f'"request": {text}')
    info = PngImagePlugin.PngInfo()
    kind = rng.random()
    name = (
        "scorefield"
        if kind < 0.85
        else rng.choice(("parameters", "prompt", "workflow", "invokeai_metadata", "Comment"))
    )
    if kind > 0.97:
        text = rng.choice(
            (
                "a" * 2_000_000,
                f"{ESCAPE}\nSteps: 1e999, Seed: {'9' * 5000}, Size: 9x, {ESCAPE}: {ESCAPE}",
                "Steps: " * 50_000,
            )
        )
    safe = text.encode("utf-8", "replace").decode()
    if rng.random() < 0.5:
        info.add_itxt(
            name, safe, lang=rng.choice(("", "\x1b[31m")), tkey=rng.choice(("", ESCAPE)), zip=rng.random() < 0.5
        )
    else:
        info.add_text(name, safe, zip=rng.random() < 0.3)
    info.add_text(rng.choice(("Title", "\x1b[31m", "Software")), ESCAPE)
    with Image.open(here / source) as image:
        image.load()
        size = rng.choice((image.size, image.size, image.size, (1, 1), (300, 2)))
        (here / "x.png").unlink(missing_ok=True)
        image.resize(size).save(here / "x.png", pnginfo=info)
    extra = rng.choice(
        (
            [],
            [],
            [],
            ["-o", "out.png"],
            ["-o", "folder"],
            ["--format", "json"],
            ["--image", "start.png"],
            ["--model", "model"],
            ["--lora", "lora.safetensors"],
            ["-q"],
        )
    )
    return rng.choice(
        (
            ["replay", "x.png", *extra],
            ["replay", "x.png", *extra],
            ["replay", "x.png", *extra],
            ["inspect", "x.png", *rng.choice(([], ["--format", "json"]))],
        )
    )
