"""compel itself beside our rule of that name: the same encoder and prompts give the same condition, and picture."""

import random
from typing import Any

import compel
import numpy as np
import pytest
import torch
from tests import pipelines, tiny
from tests.loading import stable
from tests.networks import relative_error

from scorefield.api import Pipeline
from scorefield.core import noise
from scorefield.model.system import System
from scorefield.prompt.rules import Rules

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

PROMPTS = [
    "a red car in the snow",
    "",
    "a red++ car in the snow---",
    "a (big red)1.3 car, (in the snow)0.6, at night",
    '"a big red"++ car at (night (dark)1.5)0.8 and day-',
    "well-known a+b, it's (plain) and (unclosed +1",
    "(a)+(b)-(c)1.5(d)0.3",
    "red,blue+ , green. white+.",
    r"a \(big\) car \"here\"+ (it)2",
    "(nested (very (deeply)+)+)+ here",
    "(gone)0.0 stays",
    "a 3.5 m car+ (of 1990)1.2",
]
LONG = [
    "a red+ car, " * 30,
    "One (sentence)1.2 here. And another, of a hippopotamus--. " * 8,
    "word " * 100 + "(end)0.5",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, System]:
    """A small Stable Diffusion as diffusers has it and as we load it."""
    folder = tmp_path_factory.mktemp("sd1")
    peer = pipelines.written(folder, tiny.TINY, "epsilon")
    return peer, stable(folder / "model", torch.device("cpu"), torch.float32, networks=tiny.TINY)


def assert_same(made: tuple[Any, System], prompt: str, *, whole: bool) -> None:
    peer, model = made
    theirs = compel.Compel(peer.tokenizer, peer.text_encoder, truncate_long_prompts=not whole)(prompt)
    ours = model.stages[0].conditioner([prompt], Rules(weighting="compel", long_prompt="chunks")).tokens
    assert ours is not None
    assert relative_error(ours, theirs, least=0.1) < 2e-6, prompt


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_condition_is_that_of_compel(made: tuple[Any, System], prompt: str) -> None:
    assert_same(made, prompt, whole=False)


@pytest.mark.parametrize("prompt", LONG)
def test_a_long_prompt_is_divided_where_compel_divides_it(made: tuple[Any, System], prompt: str) -> None:
    assert_same(made, prompt, whole=True)


def test_prompts_of_any_signs_have_the_condition_of_compel(made: tuple[Any, System]) -> None:
    source = random.Random(0)
    parts = ["cat", "red", "well-known", "it's", "+", "++", "-", "(", ")", ")1.3", ")0.5", ")+", " ", " ", ", ", ". "]
    for _ in range(25):
        prompt = "".join(source.choices(parts, k=source.randrange(3, 14)))
        assert_same(made, prompt, whole=False)


def test_a_picture_of_weighted_words_is_that_of_diffusers_with_the_condition_of_compel(
    made: tuple[Any, System],
) -> None:
    peer, model = made
    prompt, negative = "a (red fox)1.4 in the snow--", "(blurry)1.2"
    read = compel.Compel(peer.tokenizer, peer.text_encoder)
    peer.scheduler = pipelines.scheduler("EulerDiscreteScheduler", "epsilon", timestep_spacing="trailing")
    peer.scheduler.set_timesteps(4)
    sigma = float(peer.scheduler.sigmas[0])
    x = noise.initial([7], (4, 8, 8)) * ((1 + sigma**2) ** 0.5 / float(peer.scheduler.init_noise_sigma))
    theirs = peer(
        prompt_embeds=read(prompt), negative_prompt_embeds=read(negative), height=64, width=64, latents=x,
        num_inference_steps=4, guidance_scale=3.0,
    ).images[0]  # fmt: skip
    options = {"size": 64, "steps": 4, "guidance": 3.0, "seed": 7, "sampler": "euler", "schedule": "trailing"}
    ours = Pipeline(model)(prompt, negative_prompt=negative, weighting="compel", **options).image  # type: ignore[arg-type]
    assert abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1
    plain = Pipeline(model)(prompt, negative_prompt=negative, **options).image  # type: ignore[arg-type]
    assert abs(np.asarray(plain).astype(int) - np.asarray(theirs)).max() > 5
