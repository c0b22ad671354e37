"""Files that are not what their names say, that never end, or that claim more than they hold: one line, at once."""

import json
import os
import pickle
import re
import resource
import signal
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scorefield.errors import DamagedError, MissingError, ScorefieldError, UnsupportedError
from scorefield.input_files import parse_json, read_json
from scorefield.weights import scorefield_file
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import EmbeddingIdentity, LoraIdentity
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.model_files import shards
from scorefield.weights.tensor_index import read_folder
from scorefield.weights.textual_inversion import TextualInversionFile
from scorefield.weights.torch_pickle import read_index as pickled

VECTORS = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """A test that waits on a file fails after ten seconds instead of hanging."""
    signal.alarm(10)
    yield
    signal.alarm(0)


def refused(call: Callable[[], object], kind: type[ScorefieldError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4265437280\n"
KINDS: dict[str, tuple[bytes, type[ScorefieldError], str]] = {
    "pointer": (LFS, DamagedError, "is a Git LFS pointer, not weights: run `git lfs pull`"),
    "page": (b"<!DOCTYPE html><html><head><title>Sign in", DamagedError, "is a web page or XML, not weights"),
    "page after blank lines": (b"\n\n  <html lang='en'>", DamagedError, "is a web page or XML"),
    "answer of a bucket": (b"<?xml version='1.0'?><Error><Code>NoSuchKey", DamagedError, "is a web page or XML"),
    "answer of a server": (b'{"error":"Repository is gated"}', DamagedError, "is JSON text, not weights"),
    "list": (b'[1, 2, 3, "four", 5, 6]', DamagedError, "is JSON text"),
    "zeros": (bytes(4096), DamagedError, "is zeros, not weights: the download was not finished"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(50), UnsupportedError, "llama.cpp .GGUF., not weights: take the same weights"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(50), UnsupportedError, "is an HDF5 file, as Keras writes it"),
    "numpy": (b"\x93NUMPY\x01\0" + bytes(50), UnsupportedError, "is an array of NumPy"),
    "onnx": (b"\x08\x07\x12\x07pytorch", UnsupportedError, "is an ONNX model"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(50), UnsupportedError, "is a compressed archive, not weights: unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04", UnsupportedError, "is a compressed archive"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", UnsupportedError, "is a picture or a document"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_bytes_say_what_a_file_is_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    data, error, words = KINDS[kind]
    (tmp_path / name).write_bytes(data)
    for opened in (Reader, LoraFile, TextualInversionFile):
        line = refused(lambda opened=opened: opened(tmp_path / name), error)  # type: ignore[misc]
        assert line.startswith(f"{tmp_path / name} is ")
        assert re.search(words, line), line


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_named_safetensors_is_read_as_the_pickle_that_it_is(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.safetensors"
    torch.save({"state_dict": {"a": VECTORS}, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    reader = Reader(path)
    assert torch.equal(reader.fetch("a"), VECTORS)
    assert reader.index.values == {"epoch": 3}


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {os.environ['TRAP']}",)


@pytest.mark.parametrize("way", ["zip", "old", "pickle"])
def test_code_in_a_pickle_named_safetensors_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    path = tmp_path / "x.safetensors"
    if way == "pickle":
        path.write_bytes(pickle.dumps({"a": _Code()}))
    else:
        torch.save({"a": _Code()}, path, _use_new_zipfile_serialization=way == "zip")
    refused(lambda: Reader(path), UnsupportedError)
    assert not (tmp_path / "sprung").exists()


def test_a_safetensors_file_named_ckpt_is_read(tmp_path: Path) -> None:
    save_file({"a": VECTORS}, tmp_path / "x.ckpt")
    assert torch.equal(Reader(tmp_path / "x.ckpt").fetch("a"), VECTORS)


def _special(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "link to a pipe":
        os.mkfifo(folder / "p")
        path.symlink_to(folder / "p")
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_what_never_ends_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = _special(tmp_path, kind)
    calls: list[Callable[[Path], object]] = [Reader, LoraFile, TextualInversionFile, read_json]
    calls += [scorefield_file.read_header, lambda file: scorefield_file.load(file, "clip")]
    for call in calls:
        assert refused(lambda call=call: call(path), UnsupportedError).endswith("not a regular file")  # type: ignore[misc]


def test_the_settings_and_shards_beside_weights_are_not_opened_either(tmp_path: Path) -> None:
    half = "base_model.model.a.lora_{}.weight".format
    save_file({half("A"): torch.ones(2, 4), half("B"): torch.ones(4, 2)}, tmp_path / "adapter_model.safetensors")
    os.mkfifo(tmp_path / "adapter_config.json")
    assert "adapter_config.json is a named pipe" in refused(lambda: LoraFile(tmp_path), UnsupportedError)
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m" / "s.safetensors")
    index = tmp_path / "m" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "s.safetensors"}}))
    assert "names missing shards: 's.safetensors'" in refused(lambda: Reader(index), MissingError)
    os.mkfifo(tmp_path / "model_index.json")
    assert "model_index.json is a named pipe" in refused(
        lambda: read_folder(tmp_path, pickled=pickled), UnsupportedError
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "it is not a JSON object"), ("7", "it is not a JSON object"), ("null", "it is not a JSON object"),
        ('"' + "x" * 9 + '"', "it is not a JSON object"), ("", "it is not JSON"), ('{"a": 1', "it is not JSON"),
        ('{"a": ' + "[" * 700 + "]" * 700 + "}", "nested too deep"), ('{"a":' * 5000 + "1" + "}" * 5000, "nested too"),
        ('{"a": {"b": [' + "9" * 31 + "]}}", "a number of more than 20 digits"), ("\udcff\udcfe", "it is not JSON"),
        ('{"a": -' + "1" * 9000 + "}", "a number of more than 20 digits"),
    ],
)  # fmt: skip
def test_json_of_another_shape_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert words in refused(lambda: read_json(path), DamagedError)
    with pytest.raises(DamagedError):
        shards(path)


def test_json_within_its_bounds_is_read_as_it_stands(tmp_path: Path) -> None:
    value = {"a": [1, -2.5, None, True, {"b": "x"}], "big": 2**63, "deep": [[[[[[[[[[0]]]]]]]]]]}
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-16")
    assert read_json(tmp_path / "a.json") == value == parse_json(json.dumps(value))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [(4, 10**9), (10**6, 768), (1, 3, 10**9)])
def test_a_tensor_that_repeats_its_numbers_takes_no_memory(
    tmp_path: Path, shape: tuple[int, ...], zipped: bool
) -> None:
    path, before = tmp_path / "x.pt", _peak()
    torch.save({"<word>": torch.zeros(1).expand(shape)}, path, _use_new_zipfile_serialization=zipped)
    assert path.stat().st_size < 3000
    for opened in (Reader, TextualInversionFile):
        line = refused(lambda opened=opened: opened(path), DamagedError)  # type: ignore[misc]
        assert "has more numbers than the file" in line
    half = {f"lora_unet_a.lora_{name}.weight": torch.zeros(1).expand(shape) for name in ("down", "up")}
    torch.save(half, path, _use_new_zipfile_serialization=zipped)
    assert "has more numbers than the file" in refused(lambda: LoraFile(path), DamagedError)
    assert _peak() - before < 100_000_000


def test_an_archive_whose_pickle_claims_a_larger_storage_is_damaged(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "x.pt"
    torch.save({"a": torch.zeros(300, 7)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[:40] if name.endswith("data/0") else data)
    assert "has more numbers than the file" in refused(lambda: Reader(path), DamagedError)


def _laid_out() -> dict[str, Tensor]:
    """Tensors that share storages, are turned, cut out, empty or scalar."""
    whole = torch.arange(60.0).view(5, 12)
    return {
        "turned": whole.T, "cut": whole[1:4, 2:9], "column": whole[:, 3], "row": whole[2], "whole": whole,
        "steps": whole[::2, ::3], "empty": torch.zeros(0, 4), "scalar": torch.tensor(2.5), "one": torch.ones(1, 1, 3),
        "expanded": torch.arange(3).view(3, 1).expand(3, 1), "nested": torch.ones(2, 2, 2).transpose(0, 2).half(),
        "channels last": torch.arange(48.0).view(1, 4, 3, 4).to(memory_format=torch.channels_last),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_any_layout_are_read_as_torch_reads_them(tmp_path: Path, zipped: bool) -> None:
    held = _laid_out()
    torch.save(held, tmp_path / "x.ckpt", _use_new_zipfile_serialization=zipped)
    reader = Reader(tmp_path / "x.ckpt")
    for name, tensor in held.items():
        assert torch.equal(reader.fetch(name), tensor), name
        target, seen = torch.empty(tensor.shape, dtype=tensor.dtype), bytearray()
        reader.copy(name, target, seen.extend)
        assert torch.equal(target, tensor), name
        assert bytes(seen) == tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(), name


@pytest.mark.parametrize("form", ["safetensors", "ckpt"])
@pytest.mark.parametrize("left", [0, 1000, 300_000])
def test_a_file_that_is_cut_off_while_it_is_read_is_an_error_and_no_signal(
    tmp_path: Path, form: str, left: int
) -> None:
    path, held = tmp_path / f"x.{form}", {"a": torch.ones(100_000), "b": torch.ones(300, 1000)}
    torch.save(held, path) if form == "ckpt" else save_file(held, path)
    reader = Reader(path)
    os.truncate(path, left)
    for call in (lambda: reader.fetch("b"), lambda: reader.copy("b", torch.empty(300, 1000), lambda _: None)):
        assert "was cut off while it was read; get it again" in refused(call, DamagedError)


def test_a_header_is_read_once_for_many_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a": VECTORS}, tmp_path / "x.safetensors")
    first = Reader(tmp_path / "x.safetensors")
    monkeypatch.setattr("scorefield.weights.checkpoint.read_index", lambda *_, **__: pytest.fail("read again"))
    assert torch.equal(Reader(first.index).fetch("a"), first.fetch("a"))


ESCAPES = "a\x1b[31mred\x1b[0m\u202egnp.\u2066x\x07"


def test_what_detection_hands_out_can_be_printed(tmp_path: Path) -> None:
    save_file({ESCAPES: VECTORS}, tmp_path / "word.safetensors")
    word = identify_file(Reader(tmp_path / "word.safetensors").index)
    assert isinstance(word, EmbeddingIdentity)
    half = {f"lora_unet_a.lora_{name}.weight": torch.ones(2, 2) for name in ("down", "up")}
    said = {"ss_base_model_version": ESCAPES, "ss_network_alpha": ESCAPES}
    save_file(half, tmp_path / "lora.safetensors", metadata=said)
    lora = identify_file(Reader(tmp_path / "lora.safetensors").index)
    assert isinstance(lora, LoraIdentity)
    save_file(half, tmp_path / "own.safetensors", metadata={"scorefield": json.dumps({"kind": ESCAPES})})
    own = identify_file(Reader(tmp_path / "own.safetensors").index)
    texts = [word.words[0].token, lora.resembles, lora.alpha, own.holds, *own.parts]  # type: ignore[union-attr]
    for text in texts:
        assert text is not None
        assert text.isprintable()
        assert "[31mred" in text
