"""The experiments on pictures: few steps, few pictures, and the mathematics behind their numbers."""

import pytest
import torch

from scorefield.core import cond
from scorefield.lab.pictures import scenes
from scorefield.sample.walk import Step

PROMPTS = ["a tree in the desert", "a cat on the beach"]


def last(prompts: list[str], scale: float | None = None, steps: int = 2) -> torch.Tensor:
    denoise = scenes.guided(scenes.words(prompts), scale)
    return scenes.end(scenes.walk(denoise, scenes.start([5, 6]), scenes.levels(steps)))


@pytest.mark.parametrize("scale", [None, 1.0, 3.0])
def test_a_walk_of_the_lab_is_that_of_the_pipeline_to_the_bit(scale: float | None) -> None:
    (group,) = scenes.pipeline().plan(PROMPTS, seed=5, steps=2, cfg_scale=scale)
    *_, step = scenes.pipeline().walk(group)
    assert torch.equal(last(PROMPTS, scale), step.x)


def test_the_ancestral_walk_takes_the_fresh_noise_of_its_run() -> None:
    (group,) = scenes.pipeline().plan(PROMPTS[0], seed=5, steps=3, sampler="ddpm", cfg_scale=1)
    *_, step = scenes.pipeline().walk(group)
    denoise, run, at = scenes.guided(scenes.words(PROMPTS[:1]), 1), scenes.start([5]), scenes.levels(3)
    assert torch.equal(scenes.end(scenes.walk(denoise, run, at, "ddpm")), step.x)
    still = scenes.start([5])._replace(step=lambda at, to: torch.zeros(1, 1, 1, 1))
    assert not torch.equal(scenes.end(scenes.walk(denoise, still, at, "ddpm")), step.x)


def test_a_condition_made_by_hand_is_followed() -> None:
    tree = scenes.words(PROMPTS[:1])
    both = cond.cat([tree, tree])
    pictures = scenes.end(scenes.walk(scenes.guided(both, 2.0), scenes.start([5, 5]), scenes.levels(2)))
    assert torch.allclose(pictures[0], pictures[1], atol=1e-5)
    other = last(PROMPTS, 2.0)
    assert torch.allclose(pictures[0], other[0], atol=1e-4)
    assert not torch.allclose(pictures[1], other[1], atol=1e-2)


def test_guidance_goes_away_from_the_negative_condition() -> None:
    tree, cat = scenes.words(PROMPTS[:1]), scenes.words(PROMPTS[1:])
    run, at = scenes.start([5]), scenes.levels(2)[0]
    x = run.initial

    def predicted(scale: float, neg: cond.Cond | None) -> torch.Tensor:
        with torch.no_grad():
            return scenes.guided(tree, scale, neg)(x, at)

    alone = predicted(1.0, cat)
    assert torch.allclose(predicted(0.0, cat), scenes.guided(cat, 1.0)(x, at), atol=1e-4)
    assert torch.allclose(predicted(2.0, cat), 2 * alone - predicted(0.0, cat), atol=1e-3)
    assert torch.equal(predicted(2.0, None), predicted(2.0, scenes.words([""])))


def test_the_judge_and_clip_see_bytes() -> None:
    pictures = scenes.bytes_of(scenes.images(last(PROMPTS)))
    assert pictures.shape == (2, 3, 128, 128)
    assert pictures.dtype == torch.uint8
    assert len(scenes.look(pictures)) == 2
    similarity = scenes.picture_vectors(pictures) @ scenes.text_vectors(PROMPTS).T
    assert similarity.shape == (2, 2)
    assert similarity.abs().max() <= 1 + 1e-5
    assert scenes.pixels(pictures).abs().max() <= 1


def test_the_end_of_a_walk_is_its_last_state() -> None:
    at = scenes.levels(2)
    steps = [Step(i, 2, at[i], torch.full((1,), float(i)), torch.zeros(1)) for i in range(3)]
    assert scenes.end(iter(steps)).item() == 2
