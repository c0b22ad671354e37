"""Weights of 8 bits with scales, as ComfyUI stores them: read as number times scale, to the bit, in blocks."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scorefield.errors import DamagedError, ScorefieldError, UnsupportedError
from scorefield.weights import checkpoint
from scorefield.weights.checkpoint import Reader

FP8 = torch.float8_e4m3fn
NUMBERS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(FP8)
SCALE = torch.tensor(0.37)


def marker(**said: object) -> Tensor:
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def file(to: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({name: one.clone() for name, one in tensors.items()}, to / "a.safetensors", metadata)
    return to / "a.safetensors"


OLDER = {"a.weight": NUMBERS, "a.scale_weight": SCALE, "a.scale_input": SCALE, "scaled_fp8": torch.empty(0).to(FP8)}
NEWER = {"a.weight": NUMBERS, "a.weight_scale": SCALE, "a.input_scale": SCALE,
         "a.comfy_quant": marker(format="float8_e4m3fn", full_precision_matrix_mult=True)}  # fmt: skip
PREFIXED = {f"model.diffusion_model.{name}": one for name, one in OLDER.items()}
A_ROW = {"a.weight": NUMBERS, "a.scale_weight": torch.arange(1.0, 7.0)[:, None]}
A_ROW_FLAT = {"a.weight": NUMBERS.to(torch.float8_e5m2), "a.weight_scale": torch.arange(1.0, 7.0).bfloat16()}


@pytest.mark.parametrize("tensors", [OLDER, NEWER, PREFIXED, A_ROW, A_ROW_FLAT])
@pytest.mark.parametrize("block", [1, 8, 8 << 20])  # bytes: a row at a time, two rows, everything
def test_a_scaled_weight_is_read_as_number_times_scale(
    tensors: dict[str, Tensor], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_BLOCK", block)
    reader = Reader(file(tmp_path, tensors))
    (name,) = reader.tensors  # the scales and markers are not among them
    numbers = next(one for key, one in tensors.items() if key.endswith("a.weight"))
    scale = next(one for key, one in tensors.items() if key.endswith(("scale_weight", "weight_scale")))
    assert reader.dtype(name) == torch.float32
    assert torch.equal(reader.fetch(name), numbers.float() * scale.float().reshape(-1, 1))
    half = torch.empty(6, 4, dtype=torch.bfloat16)
    reader.copy(name, half, lambda _: None)
    assert torch.equal(half, reader.fetch(name).bfloat16())


def test_the_hash_of_a_scaled_weight_is_of_its_scale_too(tmp_path: Path) -> None:
    seen: list[bytes] = []
    for scale in (SCALE, SCALE * 2):
        reader = Reader(file(tmp_path, OLDER | {"a.scale_weight": scale}))
        read: list[bytes] = []
        reader.copy("a.weight", torch.empty(6, 4), lambda part, read=read: read.append(bytes(part)))  # type: ignore[misc]
        seen.append(b"".join(read))
    assert seen[0] != seen[1]


def test_plain_8_bit_weights_are_read_as_they_are(tmp_path: Path) -> None:
    reader = Reader(file(tmp_path, {"a.weight": NUMBERS}))
    assert reader.dtype("a.weight") == FP8
    assert torch.equal(reader.fetch("a.weight").float(), NUMBERS.float())


@pytest.mark.parametrize(
    ("tensors", "kind", "line"),
    [
        ({"b.weight": NUMBERS, "a.scale_weight": SCALE}, DamagedError, "has the scale a.scale_weight, but no a.weight"),
        ({"a.weight": NUMBERS, "a.input_scale": SCALE}, DamagedError, "has a.input_scale, but no scale of a.weight"),
        (OLDER | {"a.weight_scale": SCALE}, DamagedError, "has two scales for a.weight"),
        (OLDER | {"a.scale_weight": torch.ones(3)}, UnsupportedError, "only one scale a weight or a row"),
        (OLDER | {"a.scale_weight": torch.ones(6, 2)}, UnsupportedError, "only one scale a weight or a row"),
        (OLDER | {"a.scale_weight": torch.tensor(float("nan"))}, DamagedError, "a.scale_weight is not finite"),
        (NEWER | {"a.weight": torch.ones(6, 2, dtype=torch.uint8)}, UnsupportedError, "stored as U8 with a scale"),
        (NEWER | {"a.weight_scale": torch.ones(6, dtype=torch.uint8)}, UnsupportedError, "is U8 of shape"),
        (
            NEWER | {"a.comfy_quant": marker(format="mxfp8")},
            UnsupportedError,
            "stored as mxfp8, which is not supported",
        ),
        (NEWER | {"a.comfy_quant": marker(format="float8_e4m3fn", convrot=True)}, UnsupportedError, "rotated weights"),
        (NEWER | {"a.comfy_quant": torch.full((4,), 255, dtype=torch.uint8)}, DamagedError, "cannot be read"),
    ],
)
def test_other_storages_and_lone_scales_are_refused(
    tensors: dict[str, Tensor], kind: type[ScorefieldError], line: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=line):
        Reader(file(tmp_path, tensors)).fetch("a.weight")


def test_a_format_in_the_header_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    def header(format_: str) -> dict[str, str]:
        return {"_quantization_metadata": json.dumps({"layers": {"a": {"format": format_}}})}

    Reader(file(tmp_path, OLDER, header("float8_e4m3fn")))
    with pytest.raises(UnsupportedError, match="a is stored as nvfp4"):
        Reader(file(tmp_path, OLDER, header("nvfp4")))
    with pytest.raises(DamagedError, match="header"):
        Reader(file(tmp_path, OLDER, {"_quantization_metadata": "[]"}))
