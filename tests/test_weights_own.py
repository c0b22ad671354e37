"""Our own weights files: whole or absent, half precision, and one clear line for whatever is wrong with one."""

import json
import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.errors import ScorefieldError
from scorefield.weights import scorefield_file
from scorefield.weights.scorefield_file import Header

HEADER = Header(
    kind="clip", config={"width": 3, "encoders": {"text": None}}, step=7, samples=70, figures={"share": 0.5},
    notes={"knows": ["a tree", "un café"]},
)  # fmt: skip


def _tensors() -> dict[str, Tensor]:
    drawn = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    transposed = drawn.T  # not contiguous
    return {"a.weight": drawn, "b": transposed, "ids": torch.arange(5), "scale": torch.tensor(2.5), "none": drawn[:0]}


def _saved(folder: Path) -> Path:
    return scorefield_file.save(folder / "x.safetensors", _tensors(), HEADER)


def _same(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    if tensors.keys() != wanted.keys():
        return False
    pairs = [(tensors[name], value) for name, value in wanted.items()]
    return all(one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)


def _told(path: Path, kind: str = "clip") -> str:
    """What `load` says is wrong with a file: one line that names it."""
    with pytest.raises(ScorefieldError) as caught:
        scorefield_file.load(path, kind)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def _parts(path: Path) -> tuple[int, dict[str, object], bytes]:
    """The length of a file's header, the header, and the tensors' bytes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return length, json.loads(data[8 : 8 + length]), data[8 + length :]


def _rewritten(path: Path, entry: str) -> Path:
    """The same file with `entry` in the place of our JSON, and no checksum."""
    _, header, rest = _parts(path)
    text = json.dumps({**header, "__metadata__": {"scorefield": entry}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    return path


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Writing past `size` bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_holds_its_tensors_in_half_precision_and_its_header(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    tensors, header = scorefield_file.load(path, "clip")
    assert header == HEADER == scorefield_file.read_header(path)
    assert tensors["a.weight"].isfinite().all()
    assert _same(tensors, scorefield_file.half(_tensors()))
    assert tensors["a.weight"].dtype == tensors["scale"].dtype == torch.float16
    assert tensors["ids"].dtype == torch.int64
    assert torch.equal(tensors["b"], tensors["a.weight"].T)


def test_numbers_that_half_precision_holds_come_back_exactly(tmp_path: Path) -> None:
    kept = {"x": torch.tensor([1.0, -0.5, 65504.0, 2.0**-24])}
    tensors, _ = scorefield_file.load(scorefield_file.save(tmp_path / "x.safetensors", kept, HEADER), "clip")
    assert torch.equal(tensors["x"].float(), kept["x"])


def test_a_missing_folder_is_made_and_the_file_is_readable_by_all(tmp_path: Path) -> None:
    path = scorefield_file.save(tmp_path / "new" / "x.safetensors", _tensors(), HEADER)
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 65520.0])
def test_values_that_half_precision_lacks_are_refused_and_nothing_is_written(tmp_path: Path, value: float) -> None:
    path = _saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ScorefieldError, match="tensor sick holds values that do not fit float16"):
        scorefield_file.save(path, {"sick": torch.tensor([1.0, value])}, HEADER)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_leaves_the_file_of_before_and_nothing_else(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    before = path.read_bytes()
    big = {"x": torch.zeros(200_000)}
    with _largest_file(100_000), pytest.raises(ScorefieldError, match="cannot write") as caught:
        scorefield_file.save(path, big, HEADER)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
    assert scorefield_file.save(path, big, HEADER).stat().st_size > 400_000


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        _saved(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_header_of_wrong_types_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="figure share is not a number"):
        Header(kind="clip", config={}, figures={"share": "much"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="config is not a Mapping"):
        Header(kind="clip", config=[1])  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    assert _told(path) == f"{path}: no such file or folder"
    with pytest.raises(ScorefieldError, match="no such file"):
        scorefield_file.read_header(path)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").mkdir()
    assert "is a folder without weights" in _told(tmp_path / "x.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_damaged(tmp_path: Path, share: float) -> None:
    path = _saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert ("damaged" if share else "is empty") in _told(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty; get it again"), (b"PK\x03\x04 a zip", "not a weights file of PyTorch"),
        (b"\x80\x02}q\x00.", "not a weights file of PyTorch"), (b"{}", "is JSON text, not weights"),
        (b"\xff" * 64, "damaged or not a safetensors file"), (b"text\n" * 40, "damaged or not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not weights: run `git lfs pull`"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    assert words in _told(path)


def test_a_safetensors_file_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"x": torch.zeros(2)}, path, metadata=metadata)
        assert _told(path) == f"{path} has no scorefield header; it is not one of our own files"


def test_a_file_of_another_part_says_which(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    assert _told(path, "generator") == f"{path} holds a clip, not a generator"


@pytest.mark.parametrize(
    "entry",
    [
        "", "{", "[]", "3", '"text"', "null", "{}", '{"kind": "clip"}', '{"kind": 3, "config": {}}',
        '{"kind": "clip", "config": []}', '{"kind": "clip", "config": {}, "step": "7"}',
        '{"kind": "clip", "config": {}, "figures": [1]}', '{"kind": "clip", "config": {}, "figures": {"a": "b"}}',
        '{"kind": "clip", "config": {}, "notes": 1}', '{"kind": "clip", "config": {}, "extra": 1}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_header_of_another_form_cannot_be_read(tmp_path: Path, entry: str) -> None:
    path = _rewritten(_saved(tmp_path), entry)
    assert f"{path} has a scorefield header that cannot be read" in _told(path)
    with pytest.raises(ScorefieldError, match="cannot be read"):
        scorefield_file.read_header(path)


def test_one_changed_bit_of_a_tensor_is_damage(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert _told(path) == f"{path} is damaged (its checksum is wrong); get it again"


def test_a_file_without_a_checksum_is_read(tmp_path: Path) -> None:
    path = _rewritten(_saved(tmp_path), HEADER.text())
    tensors, header = scorefield_file.load(path, "clip")
    assert header == HEADER
    assert _same(tensors, scorefield_file.half(_tensors()))


def _mutated(data: bytes, length: int, rng: random.Random) -> bytes:
    """`data` with bytes changed anywhere or in its header of `length` bytes, cut, or with another length said."""
    out, way = bytearray(data), rng.randrange(5)
    if way == 0:
        return bytes(out[: rng.randrange(len(out))])
    if way == 1:
        said = rng.choice((length - 8, length - 1, length + 1, length + 8, 0, 2**31, 2**40, 2**63, 2**64 - 1))
        return said.to_bytes(8, "little") + bytes(out[8:])
    first, last = [(8, 8 + length), (8, len(out)), (8 + length, len(out))][way - 2]
    for _ in range(rng.randint(1, 4)):
        out[rng.randrange(first, last)] ^= rng.randint(1, 255) if rng.random() < 0.4 else rng.randint(1, 15)
    return bytes(out)


def test_200_mutated_copies_give_the_right_tensors_or_one_clear_line(tmp_path: Path) -> None:
    wanted, good = scorefield_file.half(_tensors()), _saved(tmp_path)
    data, (length, _, _) = good.read_bytes(), _parts(good)
    refused = []
    for seed in range(200):
        path = tmp_path / f"{seed}.safetensors"
        path.write_bytes(_mutated(data, length, random.Random(seed)))
        try:
            tensors, header = scorefield_file.load(path, "clip")
        except ScorefieldError as error:
            refused.append((path, str(error)))
        else:
            assert header == HEADER
            assert _same(tensors, wanted), f"seed {seed} gave other tensors"
    assert all(str(path) in line and "\n" not in line for path, line in refused)
    assert len(refused) >= 180


def _linear() -> nn.Linear:
    return nn.Linear(3, 2)


def test_fill_assigns_every_tensor_in_the_dtype_asked_for() -> None:
    held = scorefield_file.half(_linear().state_dict())
    for dtype in (torch.float32, torch.bfloat16):
        module = _linear()
        scorefield_file.fill(module, held, dtype, Path("x"))
        assert module.weight.dtype == module.bias.dtype == dtype
        assert torch.equal(module.weight, held["weight"].to(dtype))
        assert torch.equal(module.bias, held["bias"].to(dtype))


def test_fill_leaves_whole_numbers_alone() -> None:
    module = nn.Module()
    module.register_buffer("ids", torch.arange(3))
    scorefield_file.fill(module, {"ids": torch.tensor([5, 6, 7])}, torch.bfloat16, Path("x"))
    assert module.get_buffer("ids").tolist() == [5, 6, 7]
    assert module.get_buffer("ids").dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bias": None}, "missing: bias"),
        ({"extra": torch.zeros(1)}, "unknown: extra"),
        ({"weight": torch.zeros(2, 4)}, "of another shape or type: weight"),
        ({"bias": torch.zeros(2, dtype=torch.int64)}, "of another shape or type: bias"),
        ({"bias": None, "extra": torch.zeros(1)}, "missing: bias; unknown: extra"),
        ({f"e{i}": torch.zeros(1) for i in range(9)}, "unknown: e0, e1, e2, e3"),
    ],
)
def test_fill_names_the_keys_that_do_not_fit_and_changes_nothing(change: dict[str, Tensor | None], told: str) -> None:
    module = _linear()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    held = {name: value for name, value in {**module.state_dict(), **change}.items() if value is not None}
    with pytest.raises(ScorefieldError) as caught:
        scorefield_file.fill(module, held, torch.float32, Path("some/file"))
    assert str(caught.value) == f"some/file does not fit its own configuration: {told}"
    assert _same(dict(module.state_dict()), before)
