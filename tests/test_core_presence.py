"""Networks on demand: their weights are there within a turn, and nowhere else."""

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scorefield.core.half_precision import in_float32
from scorefield.core.presence import Alternating, OnDemand, on_demand, present


def hollow() -> nn.Linear:
    with torch.device("meta"):
        return nn.Linear(3, 2).requires_grad_(False)


def reading(calls: list[str]) -> Callable[[], dict[str, Tensor]]:
    def read() -> dict[str, Tensor]:
        calls.append("read")
        return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}

    return read


def test_weights_are_read_for_the_outer_turn_and_freed_after_it() -> None:
    net, calls = hollow(), list[str]()
    OnDemand(net, reading(calls))
    for times in (1, 2):
        with present(net), present(net):
            assert net(torch.ones(3)).tolist() == [3, 3]
        assert (net.weight.is_meta, calls) == (True, ["read"] * times)


def test_a_kept_network_is_read_once_when_it_is_first_needed() -> None:
    net, calls = hollow(), list[str]()
    OnDemand(net, reading(calls), keep=True)
    assert calls == []
    for _ in range(2):
        with present(net):
            pass
    assert (net.weight.is_meta, calls) == (False, ["read"])


def test_a_call_outside_a_turn_is_a_turn_of_its_own() -> None:
    net, calls = hollow(), list[str]()
    OnDemand(net, reading(calls))
    assert net(torch.ones(3)).tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="shape"):
        net(torch.ones(5))
    assert (net.weight.is_meta, calls) == (True, ["read"] * 2)
    made = on_demand(net).changed(lambda state: None)  # type: ignore[union-attr]
    made(torch.ones(3))
    assert calls == ["read"] * 3


def test_a_network_in_memory_has_turns_that_do_nothing() -> None:
    net = nn.Linear(3, 2)
    weight = net.weight
    with present(net):
        assert net.weight is weight
    assert on_demand(net) is None


def test_a_reading_that_fails_leaves_the_network_as_it_was() -> None:
    net, broken = hollow(), [True]

    def read() -> dict[str, Tensor]:
        if broken:
            raise KeyboardInterrupt
        return reading([])()

    OnDemand(net, read)
    with pytest.raises(KeyboardInterrupt), present(net):
        pass
    broken.clear()
    with present(net):
        assert net(torch.ones(3)).tolist() == [3, 3]
    assert net.weight.is_meta


def test_threads_share_one_reading_and_the_last_frees_it() -> None:
    net, calls, together, seen = hollow(), list[str](), threading.Barrier(4), list[float]()
    OnDemand(net, reading(calls))

    def use() -> None:
        with present(net):
            together.wait(10)
            seen.append(float(net(torch.ones(3)).sum()))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls, seen, net.weight.is_meta) == (["read"], [6] * 4, True)


@pytest.mark.parametrize("during_a_turn", [False, True])
def test_a_changed_copy_is_on_demand_and_the_first_one_stays(during_a_turn: bool) -> None:
    net = hollow()
    OnDemand(net, reading([]))

    def change(state: dict[str, Tensor]) -> None:
        state["weight"] = state["weight"] * 2

    if during_a_turn:
        with present(net):
            made = on_demand(net).changed(change)  # type: ignore[union-attr]
    else:
        made = on_demand(net).changed(change)  # type: ignore[union-attr]
    assert made.weight.is_meta
    with present(made):
        assert net.weight.is_meta
        assert made(torch.ones(3)).tolist() == [6, 6]
    assert made.weight.is_meta
    with present(net):
        assert net(torch.ones(3)).tolist() == [3, 3]


def test_a_copy_in_float32_works_within_the_turn_of_its_network() -> None:
    net = hollow().to(torch.bfloat16)
    OnDemand(net, lambda: {"weight": torch.ones(2, 3).bfloat16(), "bias": torch.zeros(2).bfloat16()})
    with present(net):
        made = in_float32(net)
        with present(made):
            assert made(torch.ones(3)).dtype == torch.float32
        assert not net.weight.is_meta
    assert net.weight.is_meta
    assert on_demand(copy.deepcopy(net)) is on_demand(net)


def test_a_turn_in_inference_mode_serves_a_thread_that_is_in_none() -> None:
    net, calls = hollow(), list[str]()
    OnDemand(net, reading(calls), keep=True)
    with torch.inference_mode(), present(net):
        assert not net.weight.is_inference()


class Two(nn.Module):
    """Calls one of two networks on demand, by the sign of what it is given."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.first, self.second = hollow(), hollow()
        for name, net in (("first", self.first), ("second", self.second)):
            OnDemand(net, lambda name=name: calls.append(name) or reading([])())
        Alternating(self, (self.first, self.second))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) if x.sum() > 0 else self.second(x)


def test_of_networks_that_alternate_the_last_called_has_weights_until_the_other_is_called() -> None:
    calls = list[str]()
    two = Two(calls)
    with present(two):
        for sign in (1, 1, -1, -1):
            assert two(sign * torch.ones(3)).tolist() == [3 * sign] * 2
            assert (two.first.weight.is_meta, two.second.weight.is_meta) == (sign < 0, sign > 0)
    assert calls == ["first", "second"]
    assert two.first.weight.is_meta
    assert two.second.weight.is_meta
    assert in_float32(two).on_demand is two.on_demand
    two(torch.ones(3))
    two(torch.ones(3))
    assert calls == ["first", "second", "first", "first"]


def test_networks_that_alternate_in_memory_have_no_turns() -> None:
    owner = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    Alternating(owner, list(owner))
    assert not hasattr(owner, "on_demand")
