"""Hostile pickles: code to run, opcodes in any order, bombs of memos and sizes, tensors that lie about storage."""

import random
import struct
import zipfile
from pathlib import Path

from tests.hostile.odd import ESCAPE, damaged, put
from tests.hostile.weights import opened

COMMAND = "touch sprung"
CALLS = (
    ("os", "system", COMMAND), ("posix", "system", COMMAND),
    ("builtins", "eval", "__import__('os').system('touch sprung')"),
    ("builtins", "exec", "open('sprung','w')"), ("subprocess", "call", "/bin/true"), ("builtins", "open", "sprung"),
    ("os", "remove", "model.safetensors"),
    ("torch", "load", "unet.bin"), ("torch.hub", "load", "a/b"), ("runpy", "run_path", "x.py"),
    ("importlib", "import_module", "antigravity"),
    ("builtins", "__import__", "antigravity"), ("webbrowser", "open", "http://localhost/"),
    ("shutil", "rmtree", "model"), ("time", "sleep", 60),
    ("torch._utils", "_rebuild_tensor_v2", COMMAND), ("collections", "OrderedDict", COMMAND),
    ("builtins", "bytearray", 2**35), ("builtins", "bytearray", 2**62),
    ("builtins", "set", "abc"), ("builtins", "getattr", "x"), ("torch", "Size", 3), ("torch", "device", ESCAPE),
    ("builtins", "complex", ESCAPE),
    ("torch", "zeros", 2**34), ("torch", "FloatStorage", 2**34), ("torch.storage", "UntypedStorage", 2**34),
    ("torch", "Tensor", 2**34), ("_codecs", "encode", COMMAND),
    ("numpy.core.multiarray", "scalar", COMMAND), ("numpy", "zeros", 2**34), ("collections", "Counter", "abc"),
    ("collections", "defaultdict", "abc"),
    ("torch.nn.parameter", "Parameter", COMMAND), ("torch.serialization", "_get_layout", ESCAPE), (ESCAPE, ESCAPE, 1),
    ("", "", 1), ("x" * 9999, "y", 1),
)  # fmt: skip
REBUILT = (
    "_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_tensor_v3", "_rebuild_parameter",
    "_rebuild_parameter_with_state", "_rebuild_sparse_tensor",
    "_rebuild_qtensor", "_rebuild_meta_tensor_no_storage", "_rebuild_device_tensor_from_numpy",
    "_rebuild_wrapper_subclass", "_rebuild_nested_tensor",
)  # fmt: skip
SIDES = (0, 1, 2, 3, 32, 2**20, 2**31, 2**33, 2**62, -1, 2**63)
STRIDES = (0, 1, 2, 32, -1, 2**40, 2**62)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _plain(value: str | int) -> bytes:
    return _text(value) if isinstance(value, str) else _int(value)


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _storage(rng: random.Random, numbers: int) -> bytes:
    kind = rng.choice(
        (
            "FloatStorage",
            "FloatStorage",
            "FloatStorage",
            "HalfStorage",
            "LongStorage",
            "BoolStorage",
            "QUInt8Storage",
            "ComplexFloatStorage",
        )
    )
    key = rng.choice(("0", "0", "0", "0", "1", "../0", ESCAPE, "x" * 999))
    place = rng.choice(("cpu", "cpu", "cpu", "cuda:0", "meta", "privateuseone", ESCAPE))
    return _tuple(_text("storage"), _named("torch", kind), _text(key), _text(place), _int(numbers)) + b"Q"


def _tensor(rng: random.Random) -> bytes:
    """A tensor of a few numbers, which says that it has others."""
    shape = [rng.choice(SIDES) for _ in range(rng.randint(0, 4))] if rng.random() < 0.7 else [2, 32]
    strides = [rng.choice(STRIDES) for _ in shape] if rng.random() < 0.7 else [32, 1][: len(shape)]
    parts = [
        _storage(rng, rng.choice((64, 64, 64, 0, 1, 2**33, 2**62, -1))),
        _int(rng.choice((0, 0, 0, 1, -1, 2**33, 2**62))),
        _tuple(*map(_int, shape)), _tuple(*map(_int, strides)), b"\x89", _named("collections", "OrderedDict") + b")R",
    ]  # fmt: skip
    if rng.random() < 0.15:
        rng.shuffle(parts)
    if rng.random() < 0.1:
        parts.append(rng.choice((b"N", _named("torch", "float64"), _named("torch", "sparse_coo"), _text(ESCAPE))))
    name = "_rebuild_tensor_v2" if rng.random() < 0.7 else rng.choice(REBUILT)
    return _named("torch._utils", name) + _tuple(*parts) + b"R"


def _bomb(rng: random.Random) -> bytes:
    """A value that is small in the file and large to walk, to count or to print."""
    doubled = b"]" + b"q\x00" + b"".join(b"(h\x00h\x00lq\x00" for _ in range(rng.choice((8, 40, 400))))
    return rng.choice((
        doubled, b"(" * 50_000 + b"N" + b"t" * 50_000, b"]" * 20_000 + b"a" * 19_999,
        b"\x8b" + struct.pack("<I", 400_000) + b"\x7f" * 400_000,
        b"]q\x00h\x00a", b"}q\x00" + _text("a") + b"h\x00s", b"\x8d" + struct.pack("<Q", 2**62),
        b"\x8e" + struct.pack("<Q", 2**40) + b"ab",
        b"B" + struct.pack("<I", 2**32 - 1), b"r" + struct.pack("<I", 2**32 - 1) + b"N",
        b"j" + struct.pack("<I", 2**31), _int(2**2000), b"I" + b"9" * 6000 + b"\n",
        b"F1e400\n", b"G" + struct.pack(">d", float("nan")), b"Fnan\n", b"\x96" + struct.pack("<Q", 2**40),
        b"\x80" + bytes([rng.randrange(256)]) + b"N", b"\x95" + struct.pack("<Q", 2**60), b"0" * 50, b"P9\n",
        b"\x97\x98",
    ))  # fmt: skip


def _call(rng: random.Random) -> bytes:
    module, name, argument = rng.choice(CALLS)
    if rng.random() < 0.2:
        return _tuple(_named(module, name), _plain(argument))[:-1] + b"o"  # OBJ
    if rng.random() < 0.1:
        return b"(" + _plain(argument) + f"i{module}\n{name}\n".encode()  # INST
    called = _text(module) + _text(name) + b"\x93" if rng.random() < 0.2 else _named(module, name)
    build = rng.choice((b"R", b"R", b"R", b"\x81", b"\x81}b", b"R" + _tuple(_text("a")) + b"b"))
    return called + _tuple(_plain(argument)) + build


def _value(rng: random.Random, depth: int = 0) -> bytes:
    kind = rng.random()
    if kind < 0.45:
        return _tensor(rng)
    if kind < 0.6:
        return _call(rng)
    if kind < 0.7:
        return _bomb(rng)
    if kind < 0.85 and depth < 3:
        return _dict(rng, depth + 1)
    return rng.choice(
        (b"N", _int(3), _text(ESCAPE), b"K\x05", b"\x88", b")", b"]", b"}", b"G" + struct.pack(">d", 2.0))
    )


KEYS = (
    "a", "state_dict", "string_to_param", "*", "emb_params", "<x>", "name", "lora_unet_x.lora_up.weight",
    "lora_unet_x.lora_down.weight", ESCAPE, "",
    "conv_in.weight", "model.diffusion_model.input_blocks.0.0.weight", "step", "\ud800", "x" * 5000,
)  # fmt: skip


def _dict(rng: random.Random, depth: int = 0) -> bytes:
    keys = [_text(key) for key in rng.sample(KEYS, rng.randint(1, 4))]
    if rng.random() < 0.05:
        keys.append(rng.choice((b"N", _int(3), b")", b"]", _tensor(rng))))
    return b"}(" + b"".join(key + _value(rng, depth) for key in keys) + b"u"


def pickled(rng: random.Random) -> bytes:
    data = (
        b"\x80" + bytes([rng.choice((2, 2, 2, 3, 4, 5))]) + (_dict(rng) if rng.random() < 0.85 else _value(rng)) + b"."
    )
    return damaged(data, rng, front=2000) if rng.random() < 0.1 else data


def make(rng: random.Random, here: Path) -> list[str]:
    """A pickle alone or in an archive of torch.save, opened as whatever."""
    name = rng.choice(("zorb.pt", "zorb.pt", "lora.ckpt", "unet.bin", "x.safetensors", "x.pth"))
    data = pickled(rng)
    if rng.random() < 0.75:
        (here / name).unlink(missing_ok=True)
        with zipfile.ZipFile(here / name, "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/byteorder", rng.choice(("little", "little", "little", "little", "big", ESCAPE)))
            archive.writestr("archive/data/0", bytes(rng.choice((256, 256, 256, 0, 3))))
            archive.writestr("archive/version", "3\n")
    else:
        magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}." if rng.random() < 0.6 else b""
        put(
            here / name,
            magic
            + data
            + rng.choice((b"", b"\x80\x02]q\x00X\x01\x00\x00\x000a." + struct.pack("<Q", 64) + bytes(256))),
        )
    return opened(name, rng)
