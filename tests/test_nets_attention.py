"""The attention kernel for CPUs against float32, with torch's own bfloat16 kernel as the measure of its error."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import hatch_build
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.nets import attention_cpu
from scorefield.nets.layers import attend

needs_kernel = pytest.mark.skipif(not attention_cpu.available(), reason="no compiler or no AVX512-BF16 here")
SIZES = [(1, 1), (5, 3), (77, 77), (25, 600)]  # queries and keys: less and more than a block, and no multiple of one


def drawn(queries: int, keys: int, width: int, peak: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Views as projections give them, 2 in the batch and 3 heads; `peak` makes scores larger."""
    generator = torch.Generator().manual_seed(queries + keys + width)
    q = peak * torch.randn(2, queries, 3, width, generator=generator)
    k, v = torch.randn(2, keys, 2, 3, width, generator=generator).bfloat16().permute(2, 0, 3, 1, 4)
    return q.bfloat16().transpose(1, 2), k, v


def error(mixed: Tensor, exact: Tensor) -> float:
    assert mixed.isfinite().all()
    assert mixed.shape == exact.shape
    return float((mixed.float() - exact).norm() / exact.norm())


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@needs_kernel
@pytest.mark.parametrize("peak", [1.0, 8.0])
@pytest.mark.parametrize("width", [2, 40, 64, 80, 96, 160, 512])
def test_the_kernel_errs_no_more_than_torchs(width: int, peak: float) -> None:
    for queries, keys in SIZES:
        q, k, v = drawn(queries, keys, width, peak)
        exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
        theirs = error(F.scaled_dot_product_attention(q, k, v), exact)
        assert error(attention_cpu.attend(q, k, v), exact) <= 1.15 * theirs + 1e-4  # two roundings of the same thing


@needs_kernel
def test_scores_far_below_zero_do_not_vanish() -> None:
    q, k, v = drawn(3, 5, 16)
    q, k = q.abs() * 100, -k.abs() * 100
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert error(attention_cpu.attend(q, k, v), exact) <= 5e-3  # bfloat16's rounding of the values is 2e-3


@needs_kernel
def test_a_value_that_is_no_number_is_not_hidden() -> None:
    q, k, v = drawn(30, 40, 16)
    q[0, 0, 7, 3] = torch.nan
    mixed = attention_cpu.attend(q, k, v)
    assert mixed[0, 0, 7].isnan().all()
    assert int(mixed.isnan().any(-1).sum()) == 1


@needs_kernel
@pytest.mark.usefixtures("threads")
def test_neither_threads_nor_the_batch_change_a_bit() -> None:
    q, k, v = drawn(120, 77, 40)
    torch.set_num_threads(1)
    expected = attention_cpu.attend(q, k, v)
    torch.set_num_threads(3)
    assert torch.equal(attention_cpu.attend(q, k, v), expected)
    assert torch.equal(attention_cpu.attend(q[1:], k[1:], v[1:]), expected[1:])


@needs_kernel
def test_what_the_kernel_returns_joins_its_heads_without_a_copy() -> None:
    q, k, v = drawn(9, 7, 16)
    assert attention_cpu.attend(q, k, v).transpose(1, 2).is_contiguous()


@needs_kernel
def test_what_wants_a_gradient_or_has_another_type_is_left_to_torch() -> None:
    q, k, v = drawn(9, 7, 16)
    assert attention_cpu.serves(q, k, v)
    assert not attention_cpu.serves(q.float(), k.float(), v.float())
    assert not attention_cpu.serves(q, k.transpose(-1, -2).contiguous().transpose(-1, -2), v)
    assert not attention_cpu.serves(*drawn(9, 7, 15))
    assert not attention_cpu.serves(*drawn(9, 7, 514))
    q.requires_grad_()
    assert not attention_cpu.serves(q, k, v)
    assert attend(q, k, v).requires_grad
    with torch.no_grad():
        assert attention_cpu.serves(q, k, v)


@pytest.mark.parametrize("keys", [77, 600])
def test_without_the_kernel_bfloat16_errs_as_torchs_does(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_cpu, "_library", None)
    q, k, v = drawn(60, keys, 40, peak=8)
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert error(attend(q, k, v), exact) <= 1.01 * error(F.scaled_dot_product_attention(q, k, v), exact)
    with pytest.raises(RuntimeError, match="no attention kernel"):
        attention_cpu.attend(q, k, v)


def test_a_compiler_makes_a_kernel_and_one_that_fails_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copy(hatch_build.SOURCE, tmp_path))
    if hatch_build.compiled(source) is None:
        pytest.skip("no C compiler for x86-64 and Linux here")
    library = tmp_path / attention_cpu.LIBRARY.name
    assert attention_cpu._load(library) is not None or not attention_cpu.available()
    source.write_text("this is no C")
    assert hatch_build.compiled(source) is None
    assert sorted(tmp_path.iterdir()) == [source]
    monkeypatch.setenv("PATH", "")
    assert hatch_build.compiled(source) is None
    assert attention_cpu._load(tmp_path / "absent") is None
