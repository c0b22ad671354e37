"""What every sampler keeps: its steps, its evaluations, no state, one sample independent of the next."""

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from tests.mixture import THREE
from torch import Tensor

from scorefield.core import gauge, noise
from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.sample.one_step import euler
from scorefield.sample.samplers import SAMPLERS, SamplerRecord
from scorefield.sample.walk import Step

EVERY = pytest.mark.parametrize("record", SAMPLERS, ids=[record.name for record in SAMPLERS])
LEVELS = [gauge.vp(lam) for lam in torch.linspace(-3, 2, 7, dtype=torch.float64).tolist()]
SEEDS = [11, 12, 13]


class Counting:
    """A denoiser that remembers where it was asked, and what it said."""

    def __init__(self) -> None:
        self.asked: list[tuple[Tensor, Level, Tensor]] = []

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        x0 = THREE(x, at)
        self.asked.append((x, at, x0))
        return x0


def start(seeds: list[int]) -> tuple[Tensor, Noise]:
    run = noise.find("per_sample")(seeds, (2,))
    return run.initial.double(), lambda at, to: run.step(at, to).double()


def walked(record: SamplerRecord, seeds: list[int]) -> Iterator[Step]:
    x, drawn = start(seeds)
    return record.sampler(THREE, x, LEVELS, drawn)


@EVERY
def test_there_is_a_step_a_level(record: SamplerRecord) -> None:
    steps = list(walked(record, SEEDS))
    assert [step.i for step in steps] == list(range(len(LEVELS)))
    assert {step.n for step in steps} == {len(LEVELS) - 1}
    assert [step.at for step in steps] == LEVELS


@EVERY
def test_a_step_holds_what_the_denoiser_said_there(record: SamplerRecord) -> None:
    denoise, (x, drawn) = Counting(), start(SEEDS)
    *steps, last = record.sampler(denoise, x, LEVELS, drawn)
    said = {at: x0 for _, at, x0 in denoise.asked}  # the last answer at a level: Heun also asks before it is there
    for step in steps:
        assert torch.equal(step.x0, said[step.at])
    assert torch.equal(last.x0, last.x)
    assert torch.equal(steps[0].x, x)


@EVERY
def test_a_step_costs_the_declared_evaluations(record: SamplerRecord) -> None:
    denoise, (x, drawn) = Counting(), start(SEEDS)
    list(record.sampler(denoise, x, LEVELS, drawn))
    assert len(denoise.asked) == record.evaluations * (len(LEVELS) - 1)


@EVERY
def test_only_the_stochastic_ones_draw_noise(record: SamplerRecord) -> None:
    x, drawn = start(SEEDS)
    intervals: list[tuple[Level, Level]] = []

    def watched(at: Level, to: Level) -> Tensor:
        intervals.append((at, to))
        return drawn(at, to)

    list(record.sampler(THREE, x, LEVELS, watched))
    assert bool(intervals) == record.stochastic
    if record.stochastic:  # each stretch of the way once, so that any two draws may be independent
        assert (intervals[0][0], intervals[-1][1]) == (LEVELS[0], LEVELS[-1])
        assert all(one[1] == other[0] for one, other in pairwise(intervals))


@EVERY
def test_a_sample_is_the_same_alone_and_in_a_batch(record: SamplerRecord) -> None:
    together = list(walked(record, SEEDS))
    for row, seed in enumerate(SEEDS):
        for step, alone in zip(together, walked(record, [seed]), strict=True):
            assert torch.isfinite(alone.x).all()
            torch.testing.assert_close(step.x[row : row + 1], alone.x, rtol=1e-12, atol=1e-12)


@EVERY
def test_two_threads_do_not_disturb_each_other(record: SamplerRecord) -> None:
    wanted = [step.x for step in walked(record, SEEDS)]
    meet, found = threading.Barrier(2), {}

    def run(number: int) -> None:
        states = []
        for step in walked(record, SEEDS):
            meet.wait(timeout=60)  # in step with the other, so that shared state would be shared
            states.append(step.x)
        found[number] = states

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for states in found[0], found[1]:
        assert all(torch.equal(state, want) for state, want in zip(states, wanted, strict=True))


@EVERY
def test_the_state_that_a_walk_starts_from_is_left_as_it_is(record: SamplerRecord) -> None:
    x, drawn = start(SEEDS)
    before = x.clone()
    list(record.sampler(THREE, x, LEVELS, drawn))
    assert torch.equal(x, before)


@EVERY
def test_float32_stays_float32(record: SamplerRecord) -> None:
    run = noise.find("per_sample")(SEEDS, (2,))
    steps = list(record.sampler(lambda x, at: THREE(x.double(), at).float(), run.initial, LEVELS, run.step))
    assert {step.x.dtype for step in steps} == {torch.float32}


@EVERY
def test_a_walk_may_be_left_at_any_step(record: SamplerRecord) -> None:
    denoise, (x, drawn) = Counting(), start(SEEDS)
    for step in record.sampler(denoise, x, LEVELS, drawn):
        if step.i == 2:
            break
    assert len(denoise.asked) <= 2 * record.evaluations + 1


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([Level(0.0, 1.0)], "at least two levels"),
        ([Level(1.0, 0.0), Level(0.5, 0.5)], "level 0 of 1 is clean"),
        ([Level(0.5, 0.5), Level(1.0, 0.0), Level(1.0, 0.0)], "level 1 of 2 is clean"),
        ([Level(0.5, 0.5), Level(0.25, 0.25)], "levels 0 and 1 are the same noise level"),
        ([Level(0.0, 1.0), Level(0.0, 0.5)], "levels 0 and 1 are the same noise level"),
        ([Level(0.5, float("nan")), Level(1.0, 0.0)], "level 0 is"),
        ([Level(0.5, 0.5), Level(0.0, 0.0)], "level 1 is"),
        ([Level(-0.5, 0.5), Level(1.0, 0.0)], "level 0 is"),
        ([Level(torch.ones(3), torch.ones(3)), Level(1.0, 0.0)], r"scalars, got a tensor of shape \(3,\)"),
    ],
)
@EVERY
def test_levels_that_no_walk_can_follow_are_refused_at_the_call(
    record: SamplerRecord, levels: list[Level], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        record.sampler(THREE, torch.zeros(1, 2, dtype=torch.float64), levels, lambda at, to: torch.zeros(1, 2))


@pytest.mark.parametrize("record", [r for r in SAMPLERS if r.stochastic], ids=lambda record: record.name)
def test_fresh_noise_on_the_way_to_noise_is_refused(record: SamplerRecord) -> None:
    x, drawn = start(SEEDS)
    with pytest.raises(ValueError, match="must go towards the picture"):
        list(record.sampler(THREE, x, LEVELS[::-1], drawn))


def test_euler_walks_back_to_the_noise_that_it_came_from() -> None:
    path = [gauge.rf(lam) for lam in torch.linspace(-2, 2, 801, dtype=torch.float64).tolist()]
    x = torch.randn(4, 2, dtype=torch.float64)
    *_, there = euler(THREE, x, path, lambda at, to: x)
    *_, back = euler(THREE, there.x, path[::-1], lambda at, to: x)
    assert float((back.x - x).abs().max()) < 0.02


def test_levels_may_be_tensors_of_one_number() -> None:
    x, drawn = start(SEEDS)
    tensors = [Level(torch.tensor(at.alpha), torch.tensor([at.sigma])) for at in LEVELS]
    *_, last = euler(THREE, x, tensors, drawn)
    *_, wanted = euler(THREE, x, LEVELS, drawn)
    torch.testing.assert_close(last.x, wanted.x, rtol=1e-6, atol=1e-6)
