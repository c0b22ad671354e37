"""The experiments on pictures: few steps, few pictures, and the mathematics behind their numbers."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch

from scorefield.api.resolve import Plan
from scorefield.core import cond
from scorefield.core import noise_schedule as core_schedule
from scorefield.data.layout import Item
from scorefield.data.scenes import Scene, scene
from scorefield.evals.adherence import renders
from scorefield.lab.experiment import Animation
from scorefield.lab.pictures import embedded, guidance, latents, measure, mix, no_noise, panel, schedule, steps
from scorefield.sample.walk import Step
from scorefield.stages.diffusion import DiffusionPlan

PROMPTS = ["a tree in the desert", "a cat on the beach"]


def last(prompts: list[str], scale: float | None = None) -> torch.Tensor:
    denoise = embedded.guided(embedded.words(prompts), scale)
    return embedded.end(embedded.walk(denoise, embedded.start([5, 6]), embedded.levels(2)))


def last_step(plan: Plan) -> Step:
    (batch,), stage = plan.batches, embedded.pipeline().stage
    assert isinstance(plan.stages[0], DiffusionPlan)
    *_, step = stage.run(plan.stages[0], batch)
    return step


@pytest.mark.parametrize("scale", [None, 1.0, 3.0])
def test_a_walk_of_the_lab_is_that_of_the_pipeline_to_the_bit(scale: float | None) -> None:
    step = last_step(embedded.pipeline().plan(PROMPTS, seed=5, steps=2, cfg_scale=scale))
    assert torch.equal(last(PROMPTS, scale), step.x)


def test_the_ancestral_walk_takes_the_fresh_noise_of_its_run() -> None:
    step = last_step(embedded.pipeline().plan(PROMPTS[0], seed=5, steps=3, sampler="ddpm", cfg_scale=1))
    denoise, run, at = embedded.guided(embedded.words(PROMPTS[:1]), 1), embedded.start([5]), embedded.levels(3)
    assert torch.equal(embedded.end(embedded.walk(denoise, run, at, "ddpm")), step.x)
    still = embedded.start([5])._replace(step=lambda at, to: torch.zeros(1, 1, 1, 1))
    assert not torch.equal(embedded.end(embedded.walk(denoise, still, at, "ddpm")), step.x)


def test_a_condition_made_by_hand_is_followed() -> None:
    tree = embedded.words(PROMPTS[:1])
    both = cond.cat([tree, tree])
    pictures = embedded.end(embedded.walk(embedded.guided(both, 2.0), embedded.start([5, 5]), embedded.levels(2)))
    assert torch.allclose(pictures[0], pictures[1], atol=1e-5)
    other = last(PROMPTS, 2.0)
    assert torch.allclose(pictures[0], other[0], atol=1e-4)
    assert not torch.allclose(pictures[1], other[1], atol=1e-2)


def test_guidance_goes_away_from_the_negative_condition() -> None:
    tree, cat = embedded.words(PROMPTS[:1]), embedded.words(PROMPTS[1:])
    run, at = embedded.start([5]), embedded.levels(2)[0]
    x = run.initial

    def predicted(scale: float, neg: cond.Cond | None) -> torch.Tensor:
        with torch.no_grad():
            return embedded.guided(tree, scale, neg)(x, at)

    alone = predicted(1.0, cat)
    assert torch.allclose(predicted(0.0, cat), embedded.guided(cat, 1.0)(x, at), atol=1e-4)
    assert torch.allclose(predicted(2.0, cat), 2 * alone - predicted(0.0, cat), atol=1e-3)
    assert torch.equal(predicted(2.0, None), predicted(2.0, embedded.words([""])))


def test_the_judge_and_clip_see_bytes() -> None:
    pictures = embedded.bytes_of(embedded.images(last(PROMPTS)))
    assert pictures.shape == (2, 3, 128, 128)
    assert pictures.dtype == torch.uint8
    assert len(embedded.look(pictures)) == 2
    similarity = embedded.picture_vectors(pictures) @ embedded.text_vectors(PROMPTS).T
    assert similarity.shape == (2, 2)
    assert similarity.abs().max() <= 1 + 1e-5
    assert embedded.pixels(pictures).abs().max() <= 1


def test_the_end_of_a_walk_is_its_last_state() -> None:
    at = embedded.levels(2)
    walk = [Step(i, 2, at[i], torch.full((1,), float(i)), torch.zeros(1)) for i in range(3)]
    assert embedded.end(iter(walk)).item() == 2


def sheet(*colours: tuple[int, int, int]) -> torch.Tensor:
    """Pictures of one colour each."""
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 128, 128).contiguous()


def small_animation(animation: Animation | None) -> list[tuple[int, int]]:
    """The sizes of the first frames."""
    assert animation is not None
    return [frame.size for frame in islice(animation.frames, 2)]


def test_sharpness_is_the_energy_of_the_edges() -> None:
    flat = sheet((9, 200, 30))
    assert measure.sharpness(flat).item() == 0
    half = flat.clone()
    half[...] = 0
    half[..., 64:] = 255  # one edge of height 1 among 127 columns of steps
    assert measure.sharpness(half).item() == pytest.approx(1 / 127)
    blurred = half.float().unfold(3, 5, 1).mean(-1).to(torch.uint8)
    assert measure.sharpness(blurred).item() < measure.sharpness(half).item() / 3


def test_psnr_has_its_known_values() -> None:
    black = sheet((0, 0, 0))
    assert measure.psnr(black + 1, black).item() == pytest.approx(20 * math.log10(255))
    assert measure.psnr(black + 255, black).item() == pytest.approx(0)
    assert measure.psnr(black, black).item() == 99


@pytest.mark.parametrize(
    ("b", "expected"),
    [([1, 2, 3, 4], 1.0), ([9, 4, 3, 1], -1.0), ([5, 5, 5, 5], 0.0), ([1, 3, 2, 4], 0.8), ([0, 0, 1, 1], 0.894427)],
)
def test_the_rank_correlation_is_spearmans(b: list[float], expected: float) -> None:
    assert measure.rank_correlation([0, 1, 5, 8], b) == pytest.approx(expected)


def test_only_trees_have_an_area_of_trees_and_bigger_ones_more() -> None:
    def scene(thing: str, size: int) -> Scene:
        return replace(measure.single(thing, "desert"), items=(Item(thing=thing, x=64, y=70, size=size),))

    drawn = renders([scene("tree", 30), scene("tree", 60), scene("tree", 90), scene("cactus", 60), scene("frog", 60)])
    small, middle, big, *others = measure.tree_areas(drawn, embedded.look(drawn)).tolist()
    assert 0 < 2 * small < middle < big / 1.5 < 0.5
    assert others == [0, 0]


def test_the_ruler_of_the_tree_is_right_and_the_area_has_to_grow() -> None:
    assert guidance.ruler() > 0.95
    outcome = guidance.guidance(pictures=2, steps=2)
    result = outcome.result
    assert result.pictures.shape == (len(guidance.ALPHAS), 2, 3, 128, 128)
    assert outcome.numbers["share_with_a_tree_at_0"] == result.found[0].float().mean()
    assert len(outcome.figure.axes) == 3
    areas = torch.linspace(0.01, 0.1, len(guidance.ALPHAS))[:, None].expand(-1, 2)
    for grown, held in ((areas, True), (areas.flip(0), False)):
        numbers = guidance.numbers(replace(result, areas=grown))
        told = {one.number: one.holds(numbers) for one in guidance.guidance.criteria}
        assert told["rank_correlation_of_alpha_and_area"] is held
        assert told["area_at_8_over_area_at_1"] is held


def test_without_the_added_noise_the_first_step_leaves_nothing_but_the_prediction() -> None:
    run = embedded.start([5, 6])
    still = run._replace(step=lambda at, to: torch.zeros_like(run.initial))
    first, second, *_ = embedded.walk(embedded.guided(embedded.words(PROMPTS), 1), still, embedded.levels(4), "ddpm")
    assert torch.allclose(second.x, second.at.alpha * first.x0, atol=1e-6)


def test_without_the_added_noise_the_states_hold_less_than_their_level() -> None:
    outcome = no_noise.no_noise(pictures=2, steps=4)
    assert outcome.result.pictures.shape == (2, 3, 2, 3, 128, 128)
    assert outcome.result.predictions.shape == (2, 5, 3, 3, 128, 128)
    assert outcome.result.noise[:, 0].tolist() == pytest.approx([1, 1], abs=0.1)
    assert outcome.result.noise[1, 1] < 0.2
    assert len(outcome.figure.axes) == 2
    assert small_animation(outcome.animation()) == [(600, 420)] * 2


def test_pictures_as_sharp_without_the_noise_refute_that_it_is_needed() -> None:
    drawn = renders([scene(index) for index in range(6)]).reshape(3, 2, 3, 128, 128)
    numbers = no_noise.numbers(torch.stack([drawn, drawn]))
    assert numbers["sharpness_left_of_no_words"] == pytest.approx(1)
    assert not next(one for one in no_noise.no_noise.criteria if "words" in one.number).holds(numbers)


def test_latents_give_the_picture_back_and_a_codec_that_mirrors_it_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = latents.latents(pictures=8)
    assert outcome.held
    assert outcome.numbers["pixels_to_latents"] == 24
    assert len(outcome.figure.axes) == 2
    decode = embedded.images
    monkeypatch.setattr(embedded, "images", lambda x0: decode(x0.flip(-1)))
    assert not latents.latents(pictures=8).held


def test_drowning_step_by_step_ends_where_the_closed_form_says_and_no_other_table_passes() -> None:
    generator = torch.Generator().manual_seed(3)
    x0 = torch.randn(4, 8, 16, 16, generator=generator, dtype=torch.float64)
    way = schedule.drown(x0, core_schedule.linear(), generator)
    off = (way.measured - way.stated) / way.chance
    assert off.isfinite().all()
    assert off.abs().max() < 4
    wrong = (way.measured - schedule.drown(x0, core_schedule.scaled_linear(), generator).stated) / way.chance
    assert wrong.abs().amax(0).min() > 4


def test_alpha_and_sigma_are_read_off_a_state() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(8, 4096, generator=generator) for _ in range(2))
    assert schedule.measured(0.6 * x0 + 0.8 * eps, x0).tolist() == pytest.approx([0.6, 0.8], abs=0.02)
    assert schedule.measured(0.6 * x0, x0).tolist() == pytest.approx([0.6, 0], abs=1e-6)


def test_the_schedules_have_their_published_ends() -> None:
    outcome = schedule.schedule(pictures=1)
    assert outcome.numbers["error_of_the_published_ends"] < 0.002
    assert outcome.numbers["sigma_measured_at_step_10_of_15"] == pytest.approx(
        outcome.numbers["sigma_at_step_10_of_15"], rel=0.1
    )
    assert len(outcome.figure.axes) == 5


def test_the_predictions_of_a_walk_end_at_its_picture() -> None:
    outcome = steps.steps(steps=10)
    result = outcome.result
    assert result.distance[0].tolist() == [1] * len(steps.PROMPTS)
    assert result.distance[-1].tolist() == [0] * len(steps.PROMPTS)
    assert result.sharp[-1].tolist() == [1] * len(steps.PROMPTS)
    assert (result.states[-1].int() - result.predictions[-1, : steps.SHOWN].int()).abs().max() <= 1
    assert outcome.numbers["distance_half_way"] == pytest.approx(result.distance[5].mean().item())
    assert len(outcome.figure.axes) == 2
    assert small_animation(outcome.animation()) == [(600, 420)] * 2


@pytest.mark.parametrize(
    ("way", "expected"),
    [([-1, 0, 1], 0.0), ([0, 2, 1.5, 4], 0.125), ([1, 0, -1], 1.0), ([0, 0, 0], 1.0), ([0, 3, 0.5, 1], 1.0)],
)
def test_a_step_back_is_a_share_of_the_way(way: list[float], expected: float) -> None:
    assert mix.step_back(way) == pytest.approx(expected)


def test_mixtures_the_wrong_way_round_refute_the_claim() -> None:
    outcome = mix.mix(factors=3, pictures=1, steps=2)
    assert outcome.result.pictures.shape == (2, 3, 1, 3, 128, 128)
    assert outcome.result.votes.shape == (2, 2, 3)
    assert len(outcome.figure.axes) == 3
    rising = torch.tensor([-0.3, 0.1, 0.4])[None, :, None].expand(2, 3, 4)
    for leaning, held in ((rising, True), (-rising, False)):
        assert all(one.holds(mix.numbers(leaning)) for one in mix.mix.criteria) is held


def test_a_mosaic_has_every_picture_in_its_place() -> None:
    red, green, blue, white = sheet((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
    drawn = panel.mosaic(torch.stack([torch.stack([red, green]), torch.stack([blue, white])]))
    assert drawn.shape == (2 * 128 + panel.GAP, 2 * 128 + panel.GAP, 3)
    assert drawn[5, 200].tolist() == [0, 255, 0]
    assert drawn[200, 5].tolist() == [0, 0, 255]
    assert drawn[130, 5].tolist() == [255, 255, 255]
