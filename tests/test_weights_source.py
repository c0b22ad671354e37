"""Somebody else's weights: listed without being loaded, fetched one by one, and one clear line for what is wrong."""

import json
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.errors import ScorefieldError
from scorefield.weights import torch_pickle
from scorefield.weights.checkpoint import Reader
from scorefield.weights.tensor_index import Stored

LINKED = ("../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "sub/x.safetensors", "..\\x.safetensors",
          "..", "", ".", "x.bin", 3, None)  # fmt: skip


def _tensors() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 3, generator=source)
    return {"a.weight": drawn, "b.half": drawn.half(), "ids": torch.arange(5)[None], "scale": drawn[0, 0].bfloat16()}


def _same(source: Reader, wanted: Mapping[str, Tensor]) -> bool:
    if source.tensors.keys() != wanted.keys():
        return False
    shapes = all(source.tensors[name].shape == tuple(tensor.shape) for name, tensor in wanted.items())
    fetched = {name: source.fetch(name) for name in wanted}
    return shapes and all(
        fetched[name].isfinite().all() and fetched[name].dtype == tensor.dtype and torch.equal(fetched[name], tensor)
        for name, tensor in wanted.items()
    )


def _open_and_fetch(path: Path, variant: str | None, fetch: str | None) -> None:
    source = Reader(path, variant)
    source.fetch(fetch or next(iter(source.tensors)))


def _told(path: Path, variant: str | None = None, fetch: str | None = None) -> str:
    """What opening a path says is wrong with it: one line that names it."""
    with pytest.raises(ScorefieldError) as caught:
        _open_and_fetch(path, variant, fetch)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < 500
    return line


def _saved(path: Path, tensors: Mapping[str, Tensor] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors or _tensors()), path, metadata={"format": "pt"})
    return path


def _sharded(folder: Path, name: str = "model", variant: str = "") -> dict[str, Tensor]:
    """Two shards and their index, as published: the variant stands before the last suffix of every name."""
    first, second = dict(list(_tensors().items())[:2]), dict(list(_tensors().items())[2:])
    files = [f"{name}-0000{i}-of-00002{variant}.safetensors" for i in (1, 2)]
    for file, tensors in zip(files, (first, second), strict=True):
        _saved(folder / file, tensors)
    weight_map = dict.fromkeys(first, files[0]) | dict.fromkeys(second, files[1])
    index = {"metadata": {"total_size": 100}, "weight_map": weight_map}
    (folder / f"{name}.safetensors.index{variant}.json").write_text(json.dumps(index))
    return first | second


def _sparse(path: Path, size: int) -> Path:
    """A safetensors file of one tensor of `size` bytes of zeros, which takes no room on the disk."""
    header = json.dumps({"x": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size)
    return path


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_safetensors_file_is_listed_and_fetched(tmp_path: Path) -> None:
    source = Reader(_saved(tmp_path / "x.safetensors"))
    assert source.tensors["b.half"] == Stored("F16", (4, 3))
    assert source.tensors["scale"] == Stored("BF16", ())
    assert source.tensors["a.weight"].numbers == 12
    assert source.index.metadata == {"format": "pt"}
    assert _same(source, _tensors())


@pytest.mark.parametrize("name", ["x.ckpt", "x.pt", "x.bin", "x.pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_tensors_is_listed_and_fetched(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(_tensors(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    source = Reader(tmp_path / name)
    assert source.tensors["b.half"] == Stored("float16", (4, 3))
    assert _same(source, _tensors())


def test_a_state_dict_is_unwrapped_and_plain_values_beside_it_are_kept(tmp_path: Path) -> None:
    rest = {"global_step": 875000, "epoch": 0, "optimizer_states": [{"state": {0: torch.zeros(9)}}], "note": None}
    torch.save({"state_dict": OrderedDict(_tensors()), **rest}, tmp_path / "x.ckpt")
    source = Reader(tmp_path / "x.ckpt")
    assert _same(source, _tensors())
    assert source.index.values == {"global_step": 875000, "epoch": 0, "note": None}


def test_tensors_of_two_levels_have_names_with_a_dot(tmp_path: Path) -> None:
    star = torch.randn(2, 8)
    plain = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": star}, "name": "cat", "step": 5}
    torch.save(plain, tmp_path / "plain.pt")
    torch.save(plain | {"string_to_param": nn.ParameterDict({"*": nn.Parameter(star)})}, tmp_path / "module.pt")
    for name in ("plain.pt", "module.pt"):
        source = Reader(tmp_path / name)
        assert _same(source, {"string_to_token.*": torch.tensor(265), "string_to_param.*": star})
        assert not source.fetch("string_to_param.*").requires_grad
        assert source.index.values == {"name": "cat", "step": 5}


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)}, tmp_path / "x.pt")
    assert "two tensors named 'a.b'" in _told(tmp_path / "x.pt")


def test_a_file_without_tensors_is_told(tmp_path: Path) -> None:
    save_file({}, tmp_path / "x.safetensors")
    torch.save({"state_dict": {}, "step": 3}, tmp_path / "x.ckpt")
    for name in ("x.safetensors", "x.ckpt"):
        assert _told(tmp_path / name) == f"{tmp_path / name} holds no tensors"


def test_lists_within_lists_end(tmp_path: Path) -> None:
    held: list[object] = [torch.zeros(1)]
    for _ in range(200):
        held = [held, held]  # 2^200 ways to the one tensor
    torch.save(held, tmp_path / "x.pt")
    assert len(Reader(tmp_path / "x.pt").tensors) == 1


def test_an_unknown_name_is_named(tmp_path: Path) -> None:
    assert "holds no tensor 'c'" in _told(_saved(tmp_path / "x.safetensors"), fetch="c")


def test_a_torch_that_gives_no_places_of_meta_tensors_gives_those_of_fake_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": _tensors(), "step": 3}, tmp_path / "x.ckpt")
    load, offset, fake = torch_pickle._load, torch_pickle._offset, []

    def watched(file: Path, place: str | None, mode: AbstractContextManager[object] | None = None) -> object:
        fake.append(mode is not None)
        return load(file, place, mode)

    monkeypatch.setattr(torch_pickle, "_load", watched)
    monkeypatch.setattr(torch_pickle, "_offset", lambda tensor: offset(tensor) if fake[-1] else None)
    assert _same(Reader(tmp_path / "x.ckpt"), _tensors())
    assert fake == [False, True]


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_of_a_large_file_no_more_than_the_tensor_that_is_asked_for_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "ckpt":
        torch.save({"x": torch.zeros(2), "rest": torch.zeros(50_000_000, dtype=torch.float16)}, path)
    else:
        _sparse(path, 2_000_000_000)
    Reader(path)  # what is imported and kept at the first time
    before, source = _resident(), Reader(path)
    if kind == "ckpt":
        assert source.fetch("x").tolist() == [0, 0]
    else:
        assert source.tensors["x"].numbers == 1_000_000_000
    assert _resident() - before < 20_000_000


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    wanted = _sharded(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        assert _same(Reader(path), wanted)


def test_shards_that_are_links_into_a_store_are_read(tmp_path: Path) -> None:
    wanted = _sharded(tmp_path / "model")
    (tmp_path / "blobs").mkdir()
    for file in list((tmp_path / "model").glob("*.safetensors")):
        os.rename(file, tmp_path / "blobs" / file.name)
        file.symlink_to(f"../blobs/{file.name}")
    assert _same(Reader(tmp_path / "model"), wanted)


def _indexed(folder: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """The index of two shards after a change of its weight_map."""
    _sharded(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))
    return path


@pytest.mark.parametrize("name", LINKED)
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    folder = tmp_path / "model"
    index = _indexed(folder, lambda names: names.update(ids=name))
    _saved(tmp_path / "x.safetensors", {"ids": torch.zeros(1)})
    assert "which is not a .safetensors file in its folder" in _told(index)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    _sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    told = _told(tmp_path / "model.safetensors.index.json")
    assert "names missing shards: 'model-00002-of-00002.safetensors'" in told


def test_an_index_of_other_shards_is_refused(tmp_path: Path) -> None:
    told = _told(_indexed(tmp_path / "more", lambda names: names.update(c="model-00001-of-00002.safetensors")))
    assert "model-00001-of-00002.safetensors lacks 'c'" in told
    told = _told(_indexed(tmp_path / "less", lambda names: names.pop("ids")))
    assert "model-00002-of-00002.safetensors has, unlisted, 'ids'" in told


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000])
def test_a_damaged_index_is_told(tmp_path: Path, text: str) -> None:
    _sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    _told(tmp_path / "model.safetensors.index.json")


def test_a_folder_gives_its_plain_safetensors_before_pickles_and_variants(tmp_path: Path) -> None:
    plain = {"plain": torch.zeros(1)}
    for name in ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"):
        _saved(tmp_path / name)
    torch.save(plain, tmp_path / "diffusion_pytorch_model.bin")
    assert list(Reader(tmp_path).tensors) == ["plain"]
    _saved(tmp_path / "diffusion_pytorch_model.safetensors", {"safe": torch.zeros(1)})
    assert list(Reader(tmp_path).tensors) == ["safe"]
    assert _same(Reader(tmp_path, "fp16"), _tensors())
    assert "its variants: fp16, non_ema, the plain one" in _told(tmp_path, "bf16")


def test_a_folder_of_fp16_alone_is_read_and_one_of_non_ema_alone_must_be_asked_for(tmp_path: Path) -> None:
    _saved(tmp_path / "a" / "model.fp16.safetensors")
    assert _same(Reader(tmp_path / "a"), _tensors())
    _saved(tmp_path / "b" / "model.non_ema.safetensors")
    assert "its variants: non_ema" in _told(tmp_path / "b")
    assert _same(Reader(tmp_path / "b", "non_ema"), _tensors())


@pytest.mark.parametrize("name", ["model", "diffusion_pytorch_model"])
def test_shards_of_a_variant_are_read(tmp_path: Path, name: str) -> None:
    wanted = _sharded(tmp_path, name, ".fp16")
    assert _same(Reader(tmp_path, "fp16"), wanted)
    assert _same(Reader(tmp_path), wanted)


def test_a_folder_with_a_name_of_its_own_gives_its_only_file(tmp_path: Path) -> None:
    torch.save(_tensors(), tmp_path / "learned_embeds.bin")
    assert _same(Reader(tmp_path), _tensors())
    _saved(tmp_path / "some_style_1.0.safetensors", {"x": torch.zeros(1)})
    assert list(Reader(tmp_path).tensors) == ["x"]
    _saved(tmp_path / "other.safetensors")
    assert "several weights files; give one: other.safetensors, some_style_1.0.safetensors" in _told(tmp_path)


def test_a_path_without_weights_is_told(tmp_path: Path) -> None:
    assert _told(tmp_path / "none") == f"{tmp_path / 'none'}: no such file or folder"
    assert "is a folder without weights" in _told(tmp_path)
    (tmp_path / "x.safetensors").mkdir()
    assert "is a folder without weights" in _told(tmp_path / "x.safetensors")
    (tmp_path / "model_index.json").write_text("{}")
    assert "is a pipeline of several parts; give one of them" in _told(tmp_path)
    os.mkfifo(tmp_path / "pipe.ckpt")
    assert "is a named pipe, not a regular file" in _told(tmp_path / "pipe.ckpt")
    assert "can only be chosen in a folder" in _told(_saved(tmp_path / "y.safetensors"), "fp16")


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert _told(tmp_path / name) == f"{tmp_path / name} is empty; get it again"


@pytest.mark.parametrize(
    "data", [b"text\n" * 40, b"PK\x03\x04 a zip", b"\x80\x02}q\x00.", b"\x80", b"PK\x03\x04", b"{"]
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.ckpt").write_bytes(data)
    _told(tmp_path / "x.ckpt")


@pytest.mark.parametrize("kind", ["safetensors", "ckpt", "old"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "safetensors":
        _saved(path)
    else:
        torch.save({"x": torch.zeros(500)}, path, _use_new_zipfile_serialization=kind == "ckpt")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "damaged" in _told(path)


def _lying(change: dict[str, object]) -> bytes:
    """A file of 48 + 20 bytes whose header tells of its tensors what `change` says."""
    header: dict[str, dict[str, object]] = {
        "a": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]},
        "b": {"dtype": "F32", "shape": [5], "data_offsets": [48, 68]} | change,
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(68)


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [40, 60]}, {"data_offsets": [50, 70]}, {"data_offsets": [48, 10**12]}, {"shape": [6]},
        {"data_offsets": [0, 20]}, {"data_offsets": [68, 48]}, {"data_offsets": [-20, 0]}, {"data_offsets": [48]},
        {"shape": [2**62, 2**62]}, {"shape": [-5]}, {"shape": 5}, {"dtype": "F33"}, {"dtype": "F64"}, {"dtype": 3},
    ],
)  # fmt: skip
def test_a_header_that_lies_is_told(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(_lying({}))
    assert list(Reader(path).tensors) == ["a", "b"]
    path.write_bytes(_lying(change))
    assert "is damaged or not a safetensors file" in _told(path)


@pytest.mark.parametrize("length", [0, 1, 200, 10**8, 10**11, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_told(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + _lying({})[8:])
    assert "is damaged or not a safetensors file" in _told(path)


class Code:
    """What a pickle may hold: on loading, `os.system` makes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {os.environ['TRAP']}",)


@pytest.mark.parametrize("way", ["zip", "old", "pickle", "protocol 4", "shard"])
def test_code_in_a_file_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    trap, path, held = tmp_path / "sprung", tmp_path / "pytorch_model.bin", {"a": Code(), "b": torch.zeros(2)}
    monkeypatch.setenv("TRAP", str(trap))
    if way.startswith("p"):
        path.write_bytes(pickle.dumps({"a": Code()}, protocol=4 if way == "protocol 4" else 2))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=way != "old")
    if way == "shard":
        path.rename(tmp_path / "pytorch_model-00001-of-00001.bin")
        index = {"weight_map": dict.fromkeys("ab", "pytorch_model-00001-of-00001.bin")}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ScorefieldError) as caught:
        Reader(tmp_path)
    assert not trap.exists()
    if way in ("zip", "old", "shard"):
        assert "needs posix.system to be loaded, and code in a file is never run" in str(caught.value)
        torch.load(next(tmp_path.glob("*.bin")), weights_only=False)
        assert trap.exists(), "the trap of this test is blunt"


def _module(monkeypatch: pytest.MonkeyPatch, name: str, **held: object) -> None:
    """A module of that name for as long as the patch holds, whose things a pickle names as its own."""
    for one, thing in held.items():
        for attribute, value in (("__module__", name), ("__qualname__", one)):
            setattr(thing, attribute, value)
    made = types.ModuleType(name)
    vars(made).update(held)
    monkeypatch.setitem(sys.modules, name, made)
    package = name.partition(".")[0]
    monkeypatch.setitem(sys.modules, package, sys.modules.get(package, types.ModuleType(package)))


def _of_lightning(path: Path, monkeypatch: pytest.MonkeyPatch, multiarray: str, zipped: bool, more: object) -> Path:
    """A file as Lightning left those of Stable Diffusion 1: with the class that saved it for a key, and its score."""

    class ModelCheckpoint:
        """A callback."""

    class Score:
        """A number of numpy, as it is pickled."""

        def __reduce__(self) -> tuple[object, ...]:
            return scalar, (np.dtype("f8"), np.float64(0.25).tobytes())

    def scalar(*_: object) -> None: ...

    callbacks = {ModelCheckpoint: {"monitor": "val/loss", "best_model_score": Score(), "self": ModelCheckpoint()}}
    held = {"epoch": 0, "global_step": 470000, "pytorch-lightning_version": "1.4.2", "state_dict": _tensors()}
    held |= {"callbacks": callbacks, "optimizer_states": [{"state": {0: torch.zeros(9)}}], "more": more}
    with monkeypatch.context() as patch:
        _module(patch, "pytorch_lightning.callbacks.model_checkpoint", ModelCheckpoint=ModelCheckpoint)
        _module(patch, multiarray, scalar=scalar)
        torch.save(held, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("multiarray", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_a_file_of_lightning_gives_its_weights_and_what_saved_it_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, multiarray: str, zipped: bool
) -> None:
    path = _of_lightning(tmp_path / "x.ckpt", monkeypatch, multiarray, zipped, None)
    assert (b"ModelCheckpoint" in path.read_bytes()) & (multiarray.encode() in path.read_bytes())
    source = Reader(path)
    assert _same(source, _tensors())
    assert source.index.values == {
        "epoch": 0,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "more": None,
    }
    with pytest.raises(pickle.UnpicklingError, match="ModelCheckpoint was not an allowed global"):
        torch.load(path, weights_only=True)


def test_code_in_a_file_of_lightning_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "sprung"
    monkeypatch.setenv("TRAP", str(trap))
    path = _of_lightning(tmp_path / "x.ckpt", monkeypatch, "numpy.core.multiarray", True, Code())
    assert "needs posix.system to be loaded, and code in a file is never run" in _told(path)
    assert not trap.exists()


def test_threads_may_open_pickles_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _of_lightning(tmp_path / "x.ckpt", monkeypatch, "numpy.core.multiarray", True, None)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: _same(Reader(path), _tensors()), range(60)))


class ModelCheckpoint:
    """What a training program leaves in a file."""


def test_objects_of_a_training_program_are_named_with_the_way_out(tmp_path: Path) -> None:
    held = {"state_dict": _tensors(), "callbacks": {ModelCheckpoint: {"best": ModelCheckpoint()}}}
    torch.save(held, tmp_path / "x.ckpt")
    line = _told(tmp_path / "x.ckpt")
    assert f"{ModelCheckpoint.__module__}.ModelCheckpoint" in line
    assert "have it converted at https://huggingface.co/spaces/safetensors/convert" in line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    line = _told(path)
    assert "is a TorchScript archive" in line
    assert "model.safetensors of openai/clip-vit-base-patch32" in line


def test_an_archive_of_another_kind_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("a.txt", "hello")
    assert "is a zip archive that torch.save did not write" in _told(tmp_path / "x.pt")
    torch.save(_tensors(), tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as whole, zipfile.ZipFile(tmp_path / "y.pt", "w", 8) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert "is compressed" in _told(tmp_path / "y.pt")


def test_one_changed_letter_in_a_pickle_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(_tensors(), path)
    path.write_bytes(path.read_bytes().replace(b"a.weight", b"a.weighs"))
    assert "is damaged" in _told(path)


def test_a_pickle_without_a_checksum_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(_tensors(), tmp_path / "x.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert _same(Reader(tmp_path / "x.ckpt"), _tensors())


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_is_copied_in_blocks_into_what_is_there_and_each_byte_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("scorefield.weights.checkpoint._BLOCK", 100)  # several rows of some, less than one of others
    held = {"a": torch.randn(7, 3), "b": torch.randn(3, 50), "c": torch.randn(4, 5, 3, 3), "d": torch.tensor(2.5)}
    held |= {"none": torch.empty(3, 0), "nothing": torch.empty(0, 3)}
    path = tmp_path / f"x.{kind}"
    _saved(path, held) if kind == "safetensors" else torch.save(held, path)
    source, shown = Reader(path), []
    for name, tensor in held.items():
        target = torch.empty(tensor.shape, dtype=dtype)
        if tensor.ndim == 4:
            target = target.to(memory_format=torch.channels_last)
        source.copy(name, target, lambda part: shown.append(bytes(part)))
        assert source.dtype(name) == torch.float32
        assert target.isfinite().all()
        assert torch.equal(target, tensor.to(dtype)), name
    assert b"".join(shown) == b"".join(tensor.numpy().tobytes() for tensor in held.values())


def test_a_file_that_is_cut_off_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = _saved(tmp_path / "x.safetensors", {"x": torch.zeros(5000)})
    source = Reader(path)
    os.truncate(path, 9000)
    with pytest.raises(ScorefieldError, match="was cut off while it was read; get it again"):
        source.copy("x", torch.empty(5000), lambda part: None)
