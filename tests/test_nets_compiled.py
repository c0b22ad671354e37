"""Networks that torch compiles: one graph each, no more of them than there are kinds of batches, the same answers.

All but the slow test only trace, and run what was traced as it is: machine code takes minutes.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.networks import relative_error
from torch import Tensor, fx, nn

from scorefield.nets import attention_cpu
from scorefield.nets.dit import Dit, DitConfig
from scorefield.nets.packed import pack
from scorefield.nets.twin import compiled, twin
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.nets.unet_blocks import SelfAttention

SMALL = UnetConfig(
    channels=32, multipliers=(1, 1), resblocks=1, depths=(1, 0), middle_depth=0, heads=2, context_width=16
)
ROUNDING = 2e-6  # of float32: compiled attention adds in another order
LEAST = 0.1  # deviation of an answer that is worth comparing

Graphs = list[fx.GraphModule]


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


def test_one_graph_serves_squares_of_all_sizes_and_one_more_what_is_no_square(
    net: nn.Module, fast: nn.Module, graphs: Graphs
) -> None:
    before = len(graphs)
    for given, more in [
        (inputs(8, 8), 0),
        (inputs(24, 24, rows=3, length=14), 0),  # more than 512 positions
        (inputs(8, 16), 1),
        (inputs(9, 5, rows=4, length=600), 1),
        (inputs(16, 16), 1),
    ]:
        assert relative_error(fast(*given), net(*given), LEAST) <= ROUNDING
        assert len(graphs) == before + more


def test_a_compiled_twin_has_the_weights_of_the_network_and_its_copies_are_not_compiled(
    net: nn.Module, fast: nn.Module, graphs: Graphs
) -> None:
    assert isinstance(fast, Unet)
    assert isinstance(net, Unet)
    assert fast.first.weight is net.first.weight
    before, rows = len(graphs), inputs(8, 8, rows=1)  # a kind that has not been compiled
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
    assert relative_error(gradient(compiled(net)), gradient(net), LEAST) <= 10 * ROUNDING  # of forward and back
    assert len(graphs) == before + 1


def test_threads_that_share_a_compiled_network_get_what_one_gets(fast: nn.Module, graphs: Graphs) -> None:
    before, sizes = len(graphs), [8, 12, 16, 20]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda side: fast(*inputs(side, side)), sizes))
    assert all(torch.equal(fast(*inputs(side, side)), made) for side, made in zip(sizes, together, strict=True))
    assert len(graphs) == before


@pytest.mark.skipif(not attention_cpu.available(), reason="no compiler or no AVX512-BF16 here")
def test_the_attention_kernel_is_in_the_graph_and_its_answer_the_same_to_the_bit(graphs: Graphs) -> None:
    net, x = drawn(SelfAttention(32, 2)).bfloat16(), torch.randn(2, 9, 32).bfloat16()
    expected = net(x)
    pack(net)  # as it is loaded
    assert net(x).isfinite().all()
    assert torch.equal(compiled(net)(x), expected)
    assert str(graphs[-1].graph).count("torch.ops.scorefield.attend") == 1


@pytest.mark.skipif(not attention_cpu.available(), reason="no compiler or no AVX512-BF16 here")
def test_the_attention_kernel_keeps_the_rules_of_an_operator() -> None:
    q, k, v = (torch.randn(2, length, 3, 16).bfloat16().transpose(1, 2) for length in (9, 7, 7))
    torch.library.opcheck(attention_cpu._operator, (q, k, v))


def test_the_embedded_models_network_is_one_graph_too(graphs: Graphs) -> None:
    net = drawn(Dit(DitConfig(width=32, depth=1, heads=2, text_width=16, refiner_depth=1, time_features=16)))
    fast, before = compiled(net), len(graphs)
    for side in (4, 6):
        x, tokens = torch.randn(2, 8, side, side), torch.randn(2, 5, 16)
        given = (x, torch.tensor([0.1, 0.9]), tokens, torch.arange(5)[None] < torch.tensor([[3], [5]]))
        assert relative_error(fast(*given), net(*given), LEAST) <= ROUNDING
    assert len(graphs) == before + 1


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, ROUNDING), (torch.bfloat16, 0.02)])
def test_machine_code_gives_the_same_answers_whatever_sizes_came_before(
    net: nn.Module, dtype: torch.dtype, most: float
) -> None:
    net, alone = twin(net).to(dtype), {}
    for sides in ([8, 8], [16, 16]), ([16, 16], [8, 16], [8, 8]):
        torch.compiler.reset()
        fast = compiled(net)
        for height, width in sides:
            x, time, tokens = inputs(height, width)
            given = x.to(dtype), time, tokens.to(dtype)
            made = fast(*given)
            assert relative_error(made, net(*given), LEAST) <= most
            assert torch.equal(made, alone.setdefault((height, width), made))
