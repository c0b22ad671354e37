"""Five hundred damaged copies of weights: an error of one line or what the file says, and never code, crash or hang.

Safetensors have no checksum: a changed letter of a name is another name. So what is read of a copy is held against a
second reading of its header, made here; of a copy whose header is whole, against the original. A zip archive has a
checksum of its names, so that whatever is read of a copy of it must be the original's.
"""

import json
import os
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scorefield.errors import ScorefieldError
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.reader import Reader

Shapes = dict[str, tuple[str, tuple[int, ...]]]

INDEX, FIRST = "model.safetensors.index.json", "model-00001-of-00002.safetensors"
LENGTHS = (0, 1, 7, 100, 10**8, 10**8 + 1, 10**11, 2**31, 2**32, 2**63, 2**64 - 1)
KINDS = {"F32": torch.float32, "F16": torch.float16, "I64": torch.int64}


def _tensors() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    drawn = torch.randn(6, 4, generator=source)
    return {"unet.weight": drawn, "unet.bias": drawn[0].clone(), "half": drawn.half(), "ids": torch.arange(7)[None]}


class Trap:
    """Code in a pickle: on loading, `os.system` makes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {os.environ['TRAP']}",)


class Copy(NamedTuple):
    """A file to damage and the path to open after it."""

    file: Path
    opened: Path
    header: int  # bytes in front that say names and shapes; 0 where there is a checksum of them


def _safetensors(folder: Path) -> Copy:
    file = folder / "x.safetensors"
    save_file(_tensors(), file, metadata={"format": "pt"})
    return Copy(file, file, 8 + int.from_bytes(file.read_bytes()[:8], "little"))


def _shards(folder: Path) -> Copy:
    names = list(_tensors())
    for file, mine in ((FIRST, names[:2]), ("model-00002-of-00002.safetensors", names[2:])):
        save_file({name: _tensors()[name] for name in mine}, folder / file)
    weight_map = {name: FIRST if name in names[:2] else "model-00002-of-00002.safetensors" for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return Copy(folder / FIRST, folder, 8 + int.from_bytes((folder / FIRST).read_bytes()[:8], "little"))


def _index(folder: Path) -> Copy:
    _shards(folder)
    return Copy(folder / INDEX, folder, (folder / INDEX).stat().st_size)


def _ckpt(folder: Path) -> Copy:
    torch.save({"state_dict": _tensors(), "global_step": 3}, folder / "x.ckpt")
    return Copy(folder / "x.ckpt", folder / "x.ckpt", 0)


def _old(folder: Path) -> Copy:
    torch.save({"state_dict": _tensors()}, folder / "x.bin", _use_new_zipfile_serialization=False)
    return Copy(folder / "x.bin", folder / "x.bin", 0)


def _trapped(folder: Path) -> Copy:
    torch.save({"state_dict": _tensors(), "callbacks": Trap()}, folder / "x.pt", _use_new_zipfile_serialization=False)
    return Copy(folder / "x.pt", folder / "x.pt", 0)


def _damaged(data: bytes, header: int, rng: random.Random) -> bytes:
    """`data` with bytes changed, cut, doubled or left out, or with another length of its header said."""
    out, last = bytearray(data), header or len(data)
    match rng.randrange(6):
        case 0:
            return bytes(out[: rng.randrange(len(out))])
        case 1:
            length = rng.choice((*LENGTHS, header - 9, header - 7, header))
            return max(0, length).to_bytes(8, "little") + bytes(out[8:])
        case 2:
            at = rng.randrange(len(out))
            return bytes(out[:at] + out[at : at + rng.randint(1, 9)] + out[at:])
        case 3:
            at = rng.randrange(len(out))
            return bytes(out[:at] + out[at + rng.randint(1, 9) :])
        case 4:
            last = len(out)  # anywhere
    for _ in range(rng.randint(1, 4)):
        out[rng.randrange(last)] = rng.choice((rng.randrange(256), rng.choice(b"0123456789"), rng.choice(b'{}[]",:')))
    return bytes(out)


def _read(path: Path) -> Shapes | str:
    """Every name, dtype and shape of a path, each fetched; or the line that says what is wrong."""
    try:
        source = Reader(path)
        identify_file(source.index)
        for name, stored in source.tensors.items():
            fetched = source.fetch(name)
            assert tuple(fetched.shape) == stored.shape
            assert str(fetched.dtype).removeprefix("torch.") in (stored.dtype, str(KINDS.get(stored.dtype))[6:])
            copied, shown = torch.empty_like(fetched, memory_format=torch.contiguous_format), bytearray()
            source.copy(name, copied, shown.extend)
            assert shown == _bytes(fetched) == _bytes(copied)
    except ScorefieldError as error:
        return str(error)
    return {name: (stored.dtype, stored.shape) for name, stored in source.tensors.items()}


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _said(file: Path) -> Shapes:
    """What the header of a safetensors file says, read once more by other means."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    sizes = {one["data_offsets"][1] - one["data_offsets"][0] for one in header.values()}
    assert min(sizes, default=0) >= 0
    assert max((one["data_offsets"][1] for one in header.values()), default=0) == len(data) - 8 - length
    return {name: (one["dtype"], tuple(one["shape"])) for name, one in header.items()}


def _expected(copy: Copy, way: str, whole: Shapes) -> Shapes:
    """What a copy that is read at all must be read as."""
    if way == "safetensors":
        return _said(copy.file)
    if way == "shards":
        return {name: one for file in copy.opened.glob("*.safetensors") for name, one in _said(file).items()}
    return whole  # a changed index agrees with its shards or is refused; a zip archive has a checksum


WAYS: Mapping[str, Callable[[Path], Copy]] = {
    "safetensors": _safetensors, "shards": _shards, "index": _index, "ckpt": _ckpt, "old": _old, "trapped": _trapped,
}  # fmt: skip
COUNTS = {"safetensors": 120, "shards": 60, "index": 60, "ckpt": 120, "old": 70, "trapped": 70}


@pytest.mark.parametrize("way", WAYS)
def test_500_damaged_copies(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    copy = WAYS[way](tmp_path)
    data, whole = copy.file.read_bytes(), _read(copy.opened)
    refused = 0
    for seed in range(COUNTS[way]):
        copy.file.write_bytes(_damaged(data, copy.header, random.Random(f"{way} {seed}")))
        found = _read(copy.opened)
        if isinstance(found, str):
            refused += 1
            assert str(tmp_path) in found, seed
            assert re.fullmatch(r"[^\n\r]{20,600}", found), seed
        elif way not in ("old", "trapped"):  # a pickle of before 1.6 has no checksum: it is its own only witness
            assert isinstance(whole, dict)
            assert found == _expected(copy, way, whole), seed
    assert not (tmp_path / "sprung").exists()
    assert refused > COUNTS[way] // 3
    assert isinstance(whole, str) == (way == "trapped")


def test_there_are_500_copies() -> None:
    assert COUNTS.keys() == WAYS.keys()
    assert sum(COUNTS.values()) == 500
