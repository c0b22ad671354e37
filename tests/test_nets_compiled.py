"""Networks that torch compiles: one graph for each size, the same answers.

All but the slow test only trace, and run what was traced as it is: machine code takes minutes.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from tests.networks import relative_error
from torch import Tensor, fx, nn

from scorefield.nets import attention_cpu, packed_ops
from scorefield.nets.dit import Dit, DitConfig
from scorefield.nets.packed import Conv2d, Linear, layers, numbered, pack, packs, unpack
from scorefield.nets.shared_copy import compiled, twin
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.nets.unet_blocks import ResBlock, SelfAttention
from scorefield.nets.video_dit import VideoDit, VideoDitConfig

SMALL = UnetConfig(
    channels=32, multipliers=(1, 1), resblocks=1, depths=(1, 0), middle_depth=0, heads=2, context_width=16
)
LEAST = 0.1  # deviation of an answer that is worth comparing

ROUNDING = 4e-3  # of bfloat16, in another place: packed layers add and round at once

Graphs = list[fx.GraphModule]
attending = pytest.mark.skipif(not attention_cpu.available(), reason="no compiler or no AVX512-BF16 here")
packing = pytest.mark.skipif(not packs(torch.device("cpu"), torch.bfloat16), reason="this processor has no kernels")


@pytest.fixture(scope="module")
def graphs() -> Iterator[Graphs]:
    """What is compiled in this file: traced, and left at that."""
    made: Graphs = []

    def keep(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        made.append(graph)
        return graph.forward

    torch.compiler.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend=keep))
        yield made
    torch.compiler.reset()


def drawn(net: nn.Module) -> nn.Module:
    source = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=source) * max(1, weight[0].numel()) ** -0.5
    return net.eval().requires_grad_(False)


def inputs(height: int, width: int, rows: int = 2, length: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(height + width)
    x = torch.randn(rows, 4, height, width, generator=source)
    return x, torch.linspace(3.5, 981, rows), torch.randn(rows, length, SMALL.context_width, generator=source)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return drawn(Unet(SMALL))


@pytest.fixture(scope="module")
def fast(net: nn.Module, graphs: Graphs) -> nn.Module:
    """A compiled twin that has seen one batch."""
    made = compiled(net)
    made(*inputs(8, 8))
    assert len(graphs) == 1
    return made


def test_there_is_one_graph_for_each_size(net: nn.Module, fast: nn.Module, graphs: Graphs) -> None:
    before = len(graphs)
    for given, more in [
        (inputs(8, 8), 0),
        (inputs(24, 24, rows=3, length=14), 1),  # more than 512 positions
        (inputs(9, 5, rows=4, length=600), 2),
        (inputs(8, 8), 2),
        (inputs(9, 5, rows=4, length=600), 2),
    ]:
        assert torch.equal(fast(*given), net(*given))
        assert len(graphs) == before + more


def test_a_twin_compiled_later_has_use_for_the_same_graphs(net: nn.Module, fast: nn.Module, graphs: Graphs) -> None:
    other, before = twin(net), len(graphs)
    assert isinstance(other, Unet)
    other.first.weight = nn.Parameter(2 * other.first.weight, requires_grad=False)
    changed = compiled(other)(*inputs(8, 8))
    assert torch.equal(changed, other(*inputs(8, 8)))
    assert relative_error(changed, fast(*inputs(8, 8)), LEAST) > 0.01
    assert len(graphs) == before


def test_a_compiled_twin_has_the_weights_of_the_network_and_its_copies_are_not_compiled(
    net: nn.Module, fast: nn.Module, graphs: Graphs
) -> None:
    assert isinstance(fast, Unet)
    assert isinstance(net, Unet)
    assert fast.first.weight is net.first.weight
    before, rows = len(graphs), inputs(8, 8, rows=1)  # a size that has not been compiled
    net(*rows)
    twin(fast)(*rows)
    assert len(graphs) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_goes_through_a_compiled_network(dtype: torch.dtype, graphs: Graphs) -> None:
    net = drawn(SelfAttention(32, 2)).to(dtype)

    def gradient(net: nn.Module) -> Tensor:
        x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
        return torch.autograd.grad(net(x).square().sum(), x)[0]

    before = len(graphs)
    assert torch.equal(gradient(compiled(net)), gradient(net))
    assert len(graphs) == before + 1
    pack(net)
    assert torch.equal(gradient(compiled(net)), gradient(net))


def test_threads_that_share_a_compiled_network_get_what_one_gets(fast: nn.Module, graphs: Graphs) -> None:
    sizes = [8, 12, 16]
    alone = [fast(*inputs(side, side)) for side in sizes]
    before = len(graphs)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda side: fast(*inputs(side, side)), sizes))
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))
    assert len(graphs) == before


@packing
def test_packed_layers_are_operators_that_read_the_weights_of_the_moment(graphs: Graphs) -> None:
    net, x = drawn(ResBlock(32, 64)).bfloat16(), torch.randn(2, 32, 6, 10).bfloat16()
    pack(net)
    fast = compiled(net)
    assert relative_error(fast(x), net(x), LEAST) <= ROUNDING
    before = len(graphs)
    assert str(graphs[-1].graph).count("torch.ops.scorefield.output") == 3
    unpack(fast)
    for layer in layers(fast).values():
        layer.weight.mul_(2)
    changed = twin(fast)(x)
    for change in (pack, unpack):
        change(fast)
        assert relative_error(fast(x), changed, LEAST) <= ROUNDING
    assert relative_error(changed, net(x), LEAST) > 10 * ROUNDING
    assert len(graphs) == before


@packing
@pytest.mark.parametrize("stride", [1, 2])
def test_operators_of_packed_layers_keep_the_rules_of_an_operator(stride: int) -> None:
    linear, conv2d = drawn(Linear(32, 48)).bfloat16(), drawn(Conv2d(32, 48, 3, stride, padding=1)).bfloat16()
    net = nn.ModuleList([linear, conv2d])
    pack(net)
    numbered(net)
    rows, grid = torch.randn(2, 9, 32).bfloat16(), torch.randn(2, 32, 7, 10).bfloat16()
    for layer, x in ((linear, rows), (conv2d, grid)):
        assert layer._size(x) == list(layer(x).shape)
        torch.library.opcheck(packed_ops.output, (x, layer.number, layer._size(x)))
    torch.library.opcheck(packed_ops.rows, (conv2d.number, [48, 32, 3, 3]))


@attending
def test_the_attention_kernel_is_in_the_graph_and_its_answer_the_same_to_the_bit(graphs: Graphs) -> None:
    net, x = drawn(SelfAttention(32, 2)).bfloat16(), torch.randn(2, 9, 32).bfloat16()
    assert torch.equal(compiled(net)(x), net(x))
    assert str(graphs[-1].graph).count("torch.ops.scorefield.attend") == 1


@attending
def test_the_attention_kernel_keeps_the_rules_of_an_operator() -> None:
    q, k, v = (torch.randn(2, length, 3, 16).bfloat16().transpose(1, 2) for length in (9, 7, 7))
    torch.library.opcheck(attention_cpu._operator, (q, k, v))


def test_the_embedded_models_network_is_one_graph_too(graphs: Graphs) -> None:
    net = drawn(Dit(DitConfig(width=32, depth=1, heads=2, text_width=16, refiner_depth=1, time_features=16)))
    fast, before = compiled(net), len(graphs)
    for _ in range(2):
        x, tokens = torch.randn(2, 8, 4, 4), torch.randn(2, 5, 16)
        given = (x, torch.tensor([0.1, 0.9]), tokens, torch.arange(5)[None] < torch.tensor([[3], [5]]))
        assert torch.equal(fast(*given), net(*given))
    assert len(graphs) == before + 1


def test_the_network_of_films_is_one_graph_too(graphs: Graphs) -> None:
    net = drawn(VideoDit(VideoDitConfig(width=32, mlp_width=48, depth=1, heads=2, text_width=16, text_length=9)))
    fast, before = compiled(net), len(graphs)
    for _ in range(2):
        given = torch.randn(2, 16, 3, 4, 4), torch.tensor([0.1, 0.9]), torch.randn(2, 5, 16)
        assert torch.equal(fast(*given), net(*given))
    assert len(graphs) == before + 1


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_machine_code_gives_the_same_answers(dtype: torch.dtype, most: float) -> None:
    net = drawn(Unet(replace(SMALL, depths=(1, 1), middle_depth=1))).to(dtype)
    pack(net)
    torch.compiler.reset()
    fast = compiled(net)
    for height, width in ([8, 8], [8, 16], [9, 7], [8, 8]):
        x, time, tokens = inputs(height, width)
        given = x.to(dtype), time, tokens.to(dtype)
        assert relative_error(fast(*given), net(*given), LEAST) <= most
