"""Five hundred damaged copies of weights: an error of one line or what the file says, and never code, crash or hang.

Safetensors have no checksum: a changed letter of a name is another name. So what is read of a copy is held against a
second reading of its header, made here; of a copy whose header is whole, against the original. A zip archive has a
checksum of its names, so that whatever is read of a copy of it must be the original's.
"""

import json
import math
import os
import random
import re
import resource
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scorefield.errors import ScorefieldError
from scorefield.weights import scorefield_file
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import identify_file, identify_folder
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import UNET
from scorefield.weights.tensor_index import read_folder
from scorefield.weights.textual_inversion import TextualInversionFile
from scorefield.weights.torch_pickle import read_index as read_pickle

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


GLOBALS = (
    "posix system", "builtins eval", "builtins exec", "subprocess Popen", "torch load", "torch.hub load", "os popen",
    "torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch FloatStorage", "torch Tensor", "os execv",
    "operator attrgetter", "torch.serialization _load", "importlib import_module", "builtins getattr", "os popen",
)  # fmt: skip


OPCODES = (
    b"R", b"(", b"t", b"\x85", b"\x86", b"}", b"]", b")", b"b", b"o", b"\x81", b"N", b"K\x05", b"Q", b"q\x00", b"h\x00",
    b"s", b"u", b"0", b"2", b"a", b"e", b"X\x07\x00\x00\x00storage", b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
)  # fmt: skip


def _opcodes(rng: random.Random) -> bytes:
    """A pickle of a few opcodes that call, build and nest whatever they find, with the trap's command for words."""
    command = f"touch {os.environ['TRAP']}"
    out = bytearray(b"\x80" + bytes([rng.choice((2, 2, 3, 4, 5))]))
    for _ in range(rng.randint(2, 14)):
        name = rng.choice(GLOBALS)
        module, _, attribute = name.partition(" ")
        word = b"X" + len(command).to_bytes(4, "little") + command.encode()
        out += rng.choice((f"c{module}\n{attribute}\n".encode(), word, b"\x8a\x08" + rng.randbytes(8), *OPCODES))
    return bytes(out + b".")


def _hostile_pickle(path: Path, rng: random.Random) -> None:
    """Such a pickle, alone or in the place of the one in an archive of torch.save."""
    data = _opcodes(rng)
    if rng.random() < 0.4:
        path.write_bytes(data)
        return
    whole = path.with_suffix(".whole")
    torch.save({"a": torch.ones(3)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith("data.pkl") else old.read(name))


ODD_NUMBERS = (0, 1, -1, 3, 2**31, 2**62, 2**63, 10**30)
ODD_NAMES = (
    "", "a", "lora_unet_ff.lora_down.weight", "lora_unet_ff.lora_up.weight", "clip_l", "clip_g", "\x1b[2J", "\u202e",
    "string_to_param.*", "model.diffusion_model.input_blocks.0.0.weight", "../a", "x" * 500, "conv_in.weight",
    "down.alpha", "encoder.conv_in.weight", "post_quant_conv.weight", "text_model.embeddings.token_embedding.weight",
    "💥", "x.attn2.to_k.weight", "lora_unet_ff.hada_w1_b", "a.lora_magnitude_vector", "emb_params",
    "\x1b[2J.lora_up.weight",
)  # fmt: skip
DTYPES = (("F32", 4), ("F16", 2), ("I64", 8), ("BOOL", 1), ("F8_E4M3", 1), ("F4", 1), ("Q9", 1))


def _hostile_safetensors(path: Path, rng: random.Random) -> None:
    """A header of names that mean something with dtypes, shapes and places that may not fit, over a few bytes."""
    header: dict[str, object] = {}
    end = 0
    for name in rng.sample(ODD_NAMES, rng.randint(1, 5)):
        dtype, size = rng.choice(
            (("F32", 4), ("F16", 2), ("I64", 8), ("BOOL", 1), ("F8_E4M3", 1), ("F4", 1), ("Q9", 1))
        )
        shape = [rng.choice((1, 2, 3, 64, 0)) for _ in range(rng.randint(0, 4))]
        start, end = end, end + size * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        if rng.random() < 0.1:
            header[name] = {
                "dtype": dtype,
                "shape": [rng.choice(ODD_NUMBERS)],
                "data_offsets": [0, rng.choice(ODD_NUMBERS)],
            }
    if rng.random() < 0.5:
        names = ("scorefield", "lora_adapter_metadata", "ss_base_model_version", "modelspec.prediction_type", "token")
        header["__metadata__"] = {name: _odd_json(rng) for name in rng.sample(names, 2)}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rng.randbytes(min(max(end, 0), 100_000)))


SETTINGS = (
    "lora_alpha", "alpha_pattern", "unet.alpha_pattern", "use_dora", "use_rslora", "weight_map", "_class_name", "unet",
    "vae", "kind", "prediction_type", "rescale_betas_zero_snr", "ff", "to_k", "(a+)+", "..", "a/b",
)  # fmt: skip
LEAVES = (
    "0", "-1", "1e400", "NaN", "true", "null", '"a"', "9" * 40, '"\\ud800"', '["diffusers", "X"]', '"../x.safetensors"',
    "{", "[" * 900 + "]" * 900, "[]", "{}", '"\\u001b[31m"', "1e-320", '["diffusers", null]', "[[]]",
    '"\\u202e"', "1E5",
)  # fmt: skip


def _odd_json(rng: random.Random, depth: int = 0) -> str:
    """JSON text, mostly well formed, of settings that mean something with values that may not."""
    if depth > 2 or rng.random() < 0.2:
        return rng.choice(LEAVES)
    inner = [f"{json.dumps(rng.choice(SETTINGS))}: {_odd_json(rng, depth + 1)}" for _ in range(rng.randint(0, 4))]
    return "{" + ", ".join(inner) + "}"


def _open_all(path: Path) -> list[str]:
    """Open a path in every way that there is; the line of each that refuses."""
    lines = []
    calls: tuple[Callable[[], object], ...] = (
        lambda: identify_file(Reader(path).index),
        lambda: [Reader(path).fetch(name) for name in Reader(path).tensors],
        lambda: [LoraFile(path).delta(layer, UNET, torch.zeros(6, 4)) for layer in LoraFile(path).layers],
        lambda: [(word.token, TextualInversionFile(path).sha256) for word in TextualInversionFile(path).words],
        lambda: scorefield_file.load(path, "clip"),
    )
    for call in calls:
        try:
            call()
        except ScorefieldError as error:
            lines.append(str(error))
    return lines


def _one_line(lines: list[str], where: Path) -> None:
    for line in lines:
        assert str(where) in line
        assert re.fullmatch(r"[^\n\r]{20,1000}", line), line
        assert line.isprintable(), line


@pytest.mark.parametrize("kind", ["pickle", "safetensors"])
def test_150_hostile_files_opened_in_every_way(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    refused, before = 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(150):
        rng = random.Random(f"hostile {kind} {seed}")
        path = tmp_path / f"x.{rng.choice(('safetensors', 'ckpt', 'pt', 'bin'))}"
        (_hostile_pickle if kind == "pickle" else _hostile_safetensors)(path, rng)
        lines = _open_all(path)
        refused += len(lines)
        _one_line(lines, tmp_path)
    assert not (tmp_path / "sprung").exists()
    assert refused > 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_200_hostile_settings_beside_good_weights(tmp_path: Path) -> None:
    half = "base_model.model.ff.lora_{}.weight".format
    save_file({half("A"): torch.ones(2, 4), half("B"): torch.ones(6, 2)}, tmp_path / "adapter_model.safetensors")
    files = (tmp_path / "adapter_config.json", tmp_path / "model.safetensors.index.json", tmp_path / "model_index.json")
    (tmp_path / "unet").mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "unet" / "model.safetensors")
    (tmp_path / "scheduler").mkdir()
    refused = 0
    for seed in range(200):
        rng = random.Random(f"settings {seed}")
        for file in (*files, tmp_path / "scheduler" / "scheduler_config.json"):
            file.unlink(missing_ok=True)
        calls: dict[Path, Callable[[], object]] = {
            files[0]: lambda: LoraFile(tmp_path / "adapter_model.safetensors").delta("ff", UNET, torch.zeros(6, 4)),
            files[1]: lambda: Reader(files[1]),
            files[2]: lambda: identify_folder(read_folder(tmp_path, pickled=read_pickle)),
        }
        file = rng.choice(files)
        file.write_text(_odd_json(rng))
        if file == files[2]:
            file.write_text(json.dumps({"unet": ["diffusers", "UNet2DConditionModel"]}))
            (tmp_path / "scheduler" / "scheduler_config.json").write_text(_odd_json(rng))
        try:
            calls[file]()
        except ScorefieldError as error:
            refused += 1
            _one_line([str(error)], tmp_path)
    assert 50 < refused < 200
