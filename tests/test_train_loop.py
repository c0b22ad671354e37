"""The loop, its randomness, its average, its schedule and its batches."""

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from recipes.tiny import recipe as tiny
from torch import Tensor, nn

from scorefield.errors import RequestError, UnsupportedError
from scorefield.train import average, loop, state
from scorefield.train.average import WeightAverage
from scorefield.train.batches import Batch, World, in_order, prefetch, shuffled
from scorefield.train.loop import NonFiniteError
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Progress, Recipe

CPU = torch.device("cpu")


def steps(recipe: Recipe[nn.Module], run: loop.Training[nn.Module], count: int) -> Iterator[loop.TrainStep]:
    rates = [float(group["lr"]) for group in run.optimizer.param_groups]
    return loop.train(recipe, run, rates, CPU, torch.float32, count)


def assert_same(one: loop.Training[nn.Module], two: loop.Training[nn.Module]) -> None:
    """Equal to the bit: weights, average, optimiser."""
    first, second = state._tensors(one), state._tensors(two)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def line(slope: float, bad_step: int = 0) -> Recipe[nn.Module]:
    """One weight pulled by a constant gradient `slope`; not a number at `bad_step`."""

    def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        sick = torch.where(batch["index"][0] == 2 * (bad_step - 1), torch.nan, 1.0)
        return slope * sick * module.get_parameter("weight").sum(), {}

    def finish(module: nn.Module, progress: Progress) -> Path:
        raise NotImplementedError

    return Recipe(
        name="line", build=lambda: nn.Linear(1, 1, bias=False), finish=finish, loss=loss, steps=8, batch=2,
        batches=in_order(lambda indices: {"index": torch.tensor(indices)}, 2), clip=1.0,
        optimizer=lambda module: torch.optim.SGD(module.parameters(), lr=0.5), schedule=Wsd(warmup=0, decay=0.5),
    )  # fmt: skip


def test_a_step_is_yielded_after_its_update_with_the_gradient_before_clipping() -> None:
    run = loop.start(line(slope=4.0), CPU)
    first = run.module.get_parameter("weight").item()
    told = []
    for step in steps(line(slope=4.0), run, 8):
        told.append((step.step, step.samples, step.grad_norm, run.step))
        if step.step == 1:  # the clipped gradient is 1, the rate 0.5
            assert run.module.get_parameter("weight").item() == pytest.approx(first - 0.5, abs=1e-6)
            assert step.loss == pytest.approx(4 * first, abs=1e-6)
    assert told == [(k, 2 * k, 4.0, k) for k in range(1, 9)]


def test_a_loss_that_is_not_a_number_changes_nothing() -> None:
    recipe = line(slope=1.0, bad_step=4)
    run = loop.start(recipe, CPU)
    going = steps(recipe, run, 8)
    assert [next(going).step for _ in range(3)] == [1, 2, 3]
    before = run.module.get_parameter("weight").item()
    with pytest.raises(NonFiniteError, match="step 4: loss nan"):
        next(going)
    assert run.step == 3
    assert run.module.get_parameter("weight").item() == before


def test_the_loop_may_be_left_and_taken_up_at_any_step(tmp_path: Path) -> None:
    whole = loop.start(tiny(), CPU)
    losses = [step.loss for step in steps(tiny(), whole, 30)]
    first = loop.start(tiny(), CPU)
    begun = [step.loss for step in itertools.islice(steps(tiny(), first, 30), 11)]
    state.save(tmp_path / "s", first, "tiny", {}, 30)
    second = loop.start(tiny(seed=1), CPU)  # other weights, all to be overwritten
    state.fill(second, *state.read(tmp_path / "s"), tmp_path / "s")
    assert second.step == 11
    assert begun + [step.loss for step in steps(tiny(), second, 30)] == losses
    assert_same(second, whole)


def convolutions(seed: int) -> Recipe[nn.Module]:
    """Kernels in channels-last order, buffers, and Muon: all that a state must keep besides the plain."""

    def build() -> nn.Module:
        last = nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 1))
        body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1))
        return nn.Sequential(body, last).to(memory_format=torch.channels_last)

    def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        x = torch.randn(len(batch["x"]), 2, 6, 6, generator=generator)
        return (module(x) - x.mean((1, 2, 3))[:, None]).square().mean(), {}

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        return Muon(module, hidden_matrices(module, excluded=["1.1"]), lr=0.01)

    return dataclasses.replace(tiny(), build=build, loss=loss, optimizer=optimizer, seed=seed)


def test_a_state_keeps_buffers_kernels_and_the_momentum_of_muon(tmp_path: Path) -> None:
    whole, half = loop.start(convolutions(0), CPU), loop.start(convolutions(0), CPU)
    list(steps(convolutions(0), whole, 12))
    list(itertools.islice(steps(convolutions(0), half, 12), 5))
    state.save(tmp_path / "s", half, "tiny", {}, 12)
    second = loop.start(convolutions(1), CPU)
    state.fill(second, *state.read(tmp_path / "s"), tmp_path / "s")
    list(steps(convolutions(0), second, 12))
    assert_same(second, whole)


def test_the_steps_of_a_run_have_different_seeds_and_leave_the_global_generator_alone() -> None:
    assert len({loop.key(3, step) for step in range(10_000)}) == 10_000
    before = torch.get_rng_state()
    with loop.seeded(0, 5, CPU) as generator:
        drawn = torch.rand(4, generator=generator)
        torch.rand(9)
    with loop.seeded(0, 6, CPU) as generator:
        assert not torch.equal(torch.rand(4, generator=generator), drawn)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_data_set_that_ends_is_an_error() -> None:
    recipe = line(slope=1.0)
    short = Recipe(**{**vars(recipe), "batches": lambda samples: iter([{"index": torch.zeros(2)}])})
    with pytest.raises(UnsupportedError, match="step 2: the data ended"):
        list(steps(short, loop.start(short, CPU), 3))


def test_bfloat16_keeps_float32_weights_and_follows_float32() -> None:
    runs = {}
    for dtype in (torch.float32, torch.bfloat16):
        run = loop.start(tiny(), CPU)
        rates = [float(group["lr"]) for group in run.optimizer.param_groups]
        runs[dtype] = [step.loss for step in loop.train(tiny(), run, rates, CPU, dtype, 60)]
        assert {p.dtype for p in run.module.parameters()} == {torch.float32}
    full, half = runs[torch.float32], runs[torch.bfloat16]
    assert half != full
    assert half == pytest.approx(full, rel=0.3)


def test_the_average_is_its_closed_form() -> None:
    module, mean = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    first = mean.weight.detach().clone()
    values = [torch.randn(2, 3, dtype=torch.float64) for _ in range(5)]
    for value in values:
        module.weight.data.copy_(value)
        average.update(mean, module, 0.9)
    expected = 0.9**5 * first + sum(0.1 * 0.9 ** (4 - k) * value for k, value in enumerate(values))
    torch.testing.assert_close(mean.weight.detach(), expected, rtol=0, atol=1e-12)


def test_the_average_copies_buffers_and_starts_short() -> None:
    module, mean = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    module(torch.randn(8, 2))
    average.update(mean, module, 0.9)
    assert torch.equal(mean.running_mean, module.running_mean)
    assert mean.num_batches_tracked == 1
    assert [average.ramp(0.99, step) for step in (1, 8, 10_000)] == [2 / 11, 0.5, 0.99]


def test_the_averaged_weights_are_in_the_module_only_while_they_are_applied() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1).requires_grad_(False))
    module[1].eval()  # as a recipe may leave a part
    mean = WeightAverage(module, 0.5)
    for step in range(1, 4):
        with torch.no_grad():
            module[0].weight.add_(step)
        mean.update(step)
    live = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    with contextlib.suppress(KeyboardInterrupt), mean.applied():
        assert not any(part.training for part in module.modules())
        assert torch.equal(module[0].weight, mean.tensors()["0.weight"])
        assert not torch.equal(module[0].weight, live["0.weight"])
        raise KeyboardInterrupt
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, live[name]) for name, value in module.state_dict().items())
    assert mean.tensors().keys() == {"0.weight", "0.bias", "1.weight", "1.bias"}  # the frozen layer has no copy


def test_an_average_takes_the_memory_of_the_trained_parameters_alone() -> None:
    module = nn.Sequential(nn.Linear(64, 64).requires_grad_(False), nn.Linear(64, 1))
    assert sum(value.numel() for value in WeightAverage(module, 0.9).tensors().values()) == 65


def test_the_schedule_rises_stays_and_falls() -> None:
    rate = Wsd(warmup=4, decay=0.25)
    assert [rate(step, 20) for step in (1, 2, 4, 5, 15)] == [0.25, 0.5, 1, 1, 1]
    assert [rate(step, 20) for step in (16, 18, 20, 21)] == pytest.approx([5 / 6, 3 / 6, 1 / 6, 0])
    assert rate.stable_until(20) == 15
    assert [Wsd(warmup=0, decay=0)(step, 9) for step in (1, 9)] == [1, 1]


def test_the_flat_part_does_not_know_the_total() -> None:
    rate = Wsd(warmup=10, decay=0.2)
    assert [rate(step, 100) for step in range(1, 81)] == [rate(step, 1000) for step in range(1, 81)]


def test_batches_in_order_go_on_from_the_samples_seen() -> None:
    batches = in_order(lambda indices: {"x": torch.tensor(indices)}, 3)
    got = [batch["x"].tolist() for batch in itertools.islice(batches(6), 2)]
    assert got == [[6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_the_shares_of_all_ranks_are_the_batch_of_one_process(size: int) -> None:
    ordered = in_order(lambda indices: {"x": torch.tensor(indices)}, 6)
    mixed = shuffled(lambda indices: {"x": torch.from_numpy(indices)}, count=10, size=6, seed=0)
    for batches in (ordered, mixed):
        whole = [batch["x"] for batch in itertools.islice(batches(12), 5)]
        ranks = [itertools.islice(batches(12, World(rank, size)), 5) for rank in range(size)]
        shares = [torch.cat([batch["x"] for batch in together]) for together in zip(*ranks, strict=True)]
        assert all(map(torch.equal, whole, shares))


def test_a_batch_that_cannot_be_split_evenly_is_refused() -> None:
    with pytest.raises(RequestError, match="a batch of 6 cannot be split evenly over 4 processes"):
        next(in_order(lambda indices: {}, 6)(0, World(0, 4)))


def test_ranks_draw_with_different_seeds_and_rank_0_with_that_of_one_process() -> None:
    keys = [loop.key(5, step, rank) for rank in range(64) for step in range(1000)]
    assert len(set(keys)) == len(keys)
    assert keys[:1000] == [loop.key(5, step) for step in range(1000)]
    assert loop.key(5, 7) == (5 * 0x9E3779B1 + 7) % 2**32  # that of every run so far


def test_a_rank_trains_on_its_share_with_its_seed() -> None:
    seen: list[list[int]] = []
    drawn: list[float] = []

    def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        seen.append(batch["index"].tolist())
        drawn.append(torch.rand((), generator=generator).item())
        return module.get_parameter("weight").sum(), {}

    recipe = dataclasses.replace(line(slope=1.0), loss=loss)
    for rank in (0, 1):
        run = loop.start(recipe, CPU)
        assert [step.samples for step in loop.train(recipe, run, [0.5], CPU, torch.float32, 2, World(rank, 2))] == [
            2,
            4,
        ]
    assert seen == [[0], [2], [1], [3]]
    assert len(set(drawn)) == 4


class HalfAverage(WeightAverage):
    """The average of every second parameter: what one of two ranks would hold."""

    rank = 0

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module, decay)
        names = list(self._live)[self.rank :: 2]
        self._live, self._means = ({name: held[name] for name in names} for held in (self._live, self._means))


class OtherHalfAverage(HalfAverage):
    rank = 1


def test_a_sharded_average_needs_no_change_of_the_loop() -> None:
    whole = loop.start(tiny(), CPU)
    list(steps(tiny(), whole, 5))
    shards: dict[str, Tensor] = {}
    for half in (HalfAverage, OtherHalfAverage):
        run = loop.start(tiny(), CPU, half)
        list(steps(tiny(), run, 5))
        assert len(run.average.tensors()) == 2
        shards |= run.average.tensors()
    assert shards.keys() == whole.average.tensors().keys()
    assert all(torch.equal(shards[name], value) for name, value in whole.average.tensors().items())


def test_worker_processes_make_the_same_batches_in_the_same_order() -> None:
    before = torch.get_rng_state()
    batches = in_order(lambda indices: {"x": torch.tensor(indices)}, 3, workers=2)
    got = [batch["x"].tolist() for batch in itertools.islice(batches(6), 5)]
    assert got == [[k, k + 1, k + 2] for k in range(6, 21, 3)]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_shuffled_data_set_shows_everything_once_per_epoch_and_continues_anywhere() -> None:
    batches = shuffled(lambda indices: {"x": torch.from_numpy(indices)}, count=10, size=4, seed=0)
    flat = torch.cat([batch["x"] for batch in itertools.islice(batches(0), 5)]).tolist()
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]
    assert torch.cat([batch["x"] for batch in itertools.islice(batches(12), 2)]).tolist() == flat[12:20]
    assert np.array_equal(next(batches(40))["x"], next(batches(40))["x"])


def test_prefetch_gives_the_same_items_ahead_and_stops_with_its_consumer() -> None:
    made = []

    def count() -> Iterator[int]:
        for k in range(100):
            made.append(k)
            yield k

    items = prefetch(count())
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    items.close()
    assert len(made) <= 5 + 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    assert list(prefetch(iter(range(1, 4)))) == [1, 2, 3]


def test_an_error_while_preparing_rises_in_the_loop() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_a_state_of_another_network_or_optimiser_names_what_does_not_fit(tmp_path: Path) -> None:
    run = loop.start(tiny(), CPU)
    list(steps(tiny(), run, 2))
    state.save(tmp_path / "s", run, "tiny", {}, 2)
    header, tensors = state.read(tmp_path / "s")
    with pytest.raises(UnsupportedError, match=r"'0\.bias' is \[16\]"):
        state.fill(loop.start(tiny(width=8), CPU), header, tensors, tmp_path / "s")
    with pytest.raises(UnsupportedError, match=r"'0\.bias' is missing"):
        state.fill(loop.start(tiny(), CPU), header, {k: v for k, v in tensors.items() if k != "ema/0.bias"}, tmp_path)
    with pytest.raises(UnsupportedError, match="with 'AdamW', but the recipe uses SGD"):
        state.fill(loop.start(line(1.0), CPU), header, tensors, tmp_path / "s")
    with pytest.raises(UnsupportedError, match=r"'optimizer/9\.bias/step' does not fit"):
        state.fill(loop.start(tiny(), CPU), header, {**tensors, "optimizer/9.bias/step": torch.ones(())}, tmp_path)
