"""Maps of somebody else's file: every form there and back to the bit, and every key that does not fit is named."""

import re
from collections.abc import Iterator, Mapping, Sequence

import pytest
import torch
from torch import Tensor

from scorefield.weights.key_map import Entry, Form, KeysError, check, same, under, views, write

MAP = [
    *same("norm", "ln"),
    Entry("out.weight", ("proj",), Form.TRANSPOSED),
    *same("q", "to_q", form=Form.CONVOLUTION),
    Entry("gain", ("gamma",), Form.CONVOLUTION_3D),
    Entry("film.weight", ("conv3d.weight",), Form.FRAMES),
    Entry("places", ("pos",), Form.SAMPLE),
    Entry("qkv.weight", ("q.weight", "k.weight", "v.weight")),
]
OURS = {"norm.weight": (5,), "norm.bias": (5,), "out.weight": (3, 4), "q.weight": (6, 5), "q.bias": (6,),
        "gain": (5,), "film.weight": (12, 5, 2, 1), "places": (3, 4), "qkv.weight": (6, 5)}  # fmt: skip
SHAPES = {  # theirs
    "ln.weight": (5,), "ln.bias": (5,), "proj": (4, 3), "to_q.weight": (6, 5, 1, 1), "to_q.bias": (6,),
    "gamma": (5, 1, 1, 1), "conv3d.weight": (4, 5, 3, 2, 1), "pos": (1, 3, 4),
    "q.weight": (2, 5), "k.weight": (2, 5), "v.weight": (2, 5),
}  # fmt: skip


def _theirs(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=source).to(dtype) for name, shape in SHAPES.items()}


def _ours(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors, filled with theirs through their views."""
    ours = {name: torch.full(shape, torch.nan, dtype=theirs["proj"].dtype) for name, shape in OURS.items()}
    for name, place in views(MAP, ours).items():
        assert place.shape == theirs[name].shape, name
        place.copy_(theirs[name])
    return ours


def _told(entries: Sequence[Entry], keys: Iterator[str] | Sequence[str]) -> str:
    with pytest.raises(KeysError) as caught:
        check(entries, keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reading_then_writing_gives_their_file_to_the_bit(dtype: torch.dtype) -> None:
    theirs = _theirs(dtype)
    back = write(MAP, _ours(theirs))
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert tensor.isfinite().all()
        assert back[name].dtype == dtype
        assert back[name].shape == tensor.shape, name
        assert torch.equal(back[name], tensor), name


def test_writing_then_reading_gives_our_tensors_to_the_bit() -> None:
    ours = _ours(_theirs())
    again = _ours(write(MAP, ours))
    assert list(again) == list(ours) == [entry.ours for entry in MAP]
    for name, tensor in ours.items():
        assert tensor.isfinite().all()
        assert torch.equal(again[name], tensor), name


def test_each_form_is_what_it_says() -> None:
    theirs = _theirs()
    ours = _ours(theirs)
    assert torch.equal(ours["norm.weight"], theirs["ln.weight"])
    assert torch.equal(ours["out.weight"], theirs["proj"].T)
    assert torch.equal(ours["q.weight"], theirs["to_q.weight"][:, :, 0, 0])
    assert torch.equal(ours["q.bias"], theirs["to_q.bias"])  # the form is that of the weight alone
    assert torch.equal(ours["gain"], theirs["gamma"].flatten())
    assert torch.equal(ours["places"], theirs["pos"][0])
    assert torch.equal(ours["film.weight"], torch.cat(theirs["conv3d.weight"].unbind(2)))
    assert torch.equal(ours["qkv.weight"], torch.cat([theirs[f"{name}.weight"] for name in "qkv"]))
    assert {entry.form for entry in MAP} == set(Form)


def test_what_is_written_unchanged_is_not_copied() -> None:
    ours = _ours(_theirs())
    assert write(MAP, ours)["ln.weight"].data_ptr() == ours["norm.weight"].data_ptr()


def test_what_is_written_can_be_saved() -> None:
    assert all(tensor.is_contiguous() for tensor in write(MAP, _ours(_theirs())).values())


def test_a_part_stands_under_its_name_on_both_sides() -> None:
    found = list(under("mid.", "middle_block.", MAP))
    assert found[0] == Entry("mid.norm.weight", ("middle_block.ln.weight",))
    assert found[-1].theirs == ("middle_block.q.weight", "middle_block.k.weight", "middle_block.v.weight")
    assert [entry.form for entry in found] == [entry.form for entry in MAP]


def test_the_keys_of_the_map_pass() -> None:
    check(MAP, SHAPES)
    check(MAP, reversed(list(SHAPES)))


def test_a_missing_key_is_named() -> None:
    keys = [name for name in SHAPES if name != "k.weight"]
    assert _told(MAP, keys) == "the file's keys are not those of this network: 1 missing (k.weight)"


def test_an_unknown_key_is_named_beside_the_missing() -> None:
    keys = [*(name for name in SHAPES if name != "proj"), "extra"]
    assert _told(MAP, keys).endswith(": 1 missing (proj) and 1 unknown (extra)")


def test_of_many_keys_the_first_three_are_named() -> None:
    assert re.search(r"11 missing \(conv3d.weight, gamma, k.weight, \.\.\.\)$", _told(MAP, []))
    assert _told([], iter("abc")).endswith(": 3 unknown (a, b, c)")


def test_a_tensor_of_ours_that_the_map_wants_is_not_left_out() -> None:
    ours = _ours(_theirs())
    del ours["norm.bias"]
    with pytest.raises(KeyError, match=r"norm\.bias"):
        write(MAP, ours)
