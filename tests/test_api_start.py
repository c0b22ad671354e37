"""Pictures that start from a picture, with the toy: how far back they go, and what they keep."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import toy

from scorefield.api import Pipeline
from scorefield.errors import ScorefieldError
from scorefield.request import InputImage, Options, Request
from scorefield.stages.init_state import InitState, steps_walked

pytestmark = pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning")


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return Pipeline(toy.model())


def picture(width: int = 16, height: int = 16) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def mask(
    left: int = 0, upper: int = 0, right: int = 8, lower: int = 16, size: tuple[int, int] = (16, 16)
) -> Image.Image:
    made = Image.new("L", size)
    made.paste(255, (left, upper, right, lower))
    return made


def settled(pipe: Pipeline, **options: object) -> Request:
    given: Options = {"image": picture(), **options}  # type: ignore[typeddict-item]
    return pipe.plan("a tree", **given).request


def begun(pipe: Pipeline, **options: object) -> InitState:
    given: Options = {"image": picture(), **options}  # type: ignore[typeddict-item]
    (plan,) = pipe.plan("a tree", **given).stages
    return plan.start.encoded(pipe.codec, plan.canvas, torch.device("cpu"))


def wrong(pipe: Pipeline, **options: object) -> str:
    with pytest.raises(ScorefieldError) as caught:
        settled(pipe, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("steps", "strength", "few"), [(50, 0.8, 40), (25, 0.6, 15), (4, 0.75, 3), (10, 0.19, 1), (10, 1.0, 10)]
)
def test_a_strength_walks_the_last_of_the_steps(pipe: Pipeline, steps: int, strength: float, few: int) -> None:
    request = settled(pipe, steps=steps, strength=strength)
    whole = pipe.levels(request.model_copy(update={"strength": 1.0}))
    assert steps_walked(steps, strength, exact=False) == (steps, few)
    assert pipe.levels(request) == whole[-few - 1 :]
    assert [step.i for step in pipe.stream("a tree", image=picture(), steps=steps, strength=strength)] == [
        *range(few + 1)
    ]


@pytest.mark.parametrize("steps", [1, 3, 20, 50])
@pytest.mark.parametrize("strength", [0.05, 0.3, 0.6, 0.99, 1.0])
def test_exact_steps_walks_all_of_them_from_near_the_same_level(pipe: Pipeline, steps: int, strength: float) -> None:
    request = settled(pipe, steps=steps, strength=strength, exact_steps=True)
    whole, few = steps_walked(steps, strength, exact=True)
    assert few == steps == int(whole * strength)
    levels = pipe.levels(request)
    assert len(levels) == steps + 1
    assert levels[0].sigma == pytest.approx(strength, abs=1 / whole)


def test_the_walk_starts_from_the_picture_under_the_noise_of_its_seed(pipe: Pipeline) -> None:
    clean = begun(pipe).x0
    assert clean is not None
    one, two = (next(pipe.stream("a tree", image=picture(), strength=0.5, seed=seed)) for seed in (1, 2))
    noise = (one.x - one.at.alpha * clean) / one.at.sigma
    assert (one.at.alpha, one.at.sigma) == (0.5, 0.5)
    torch.testing.assert_close(noise, torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(one.x, two.x)


def test_less_strength_changes_less(pipe: Pipeline) -> None:
    before = np.asarray(picture()).astype(float)
    away = [
        abs(np.asarray(pipe("a tree", image=picture(), steps=20, strength=s, seed=1).image) - before).mean()
        for s in (0.05, 0.3, 0.6, 1.0)
    ]
    assert away == sorted(away)
    assert away[-1] > 2 * away[0]


def test_a_picture_of_a_batch_is_that_of_its_seed(pipe: Pipeline) -> None:
    options: Options = {"image": picture(), "mask": mask(), "strength": 0.75}
    whole = pipe(["a tree", "a cat"], count=2, seed=5, **options)
    for k, prompt in enumerate(["a tree", "a tree", "a cat", "a cat"]):
        assert np.array_equal(np.asarray(whole[k]), np.asarray(pipe(prompt, seed=5 + k, **options).image))


def test_a_path_bytes_and_a_picture_in_memory_are_the_same(pipe: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    drawn = [pipe("a tree", image=one, seed=1).image for one in (path, str(path), path.read_bytes(), picture())]
    assert all(np.array_equal(np.asarray(one), np.asarray(drawn[0])) for one in drawn)


@pytest.mark.parametrize(
    ("own", "options", "sides"),
    [
        ((16, 16), {}, (16, 16)),
        ((30, 45), {}, (32, 48)),
        ((3, 200), {}, (8, 200)),
        ((30, 60), {"width": 16}, (16, 32)),
        ((30, 60), {"height": 16}, (8, 16)),
        ((30, 60), {"size": "24x16"}, (24, 16)),
    ],
)
def test_the_sides_are_the_pictures_own_unless_said(
    pipe: Pipeline, own: tuple[int, int], options: dict[str, object], sides: tuple[int, int]
) -> None:
    request = settled(pipe, image=picture(*own), **options)
    assert (request.width, request.height) == sides


def test_a_picture_of_other_proportions_is_cropped_or_stretched(pipe: Pipeline) -> None:
    wide = Image.new("RGB", (32, 16), "white")
    wide.paste((0, 0, 0), (0, 0, 8, 16))
    dark = [
        (begun(pipe, image=wide, size=16, fit=fit).x0[0, 0] < 0).float().mean().item()  # type: ignore[index]
        for fit in ("crop", "stretch")
    ]
    assert dark[0] == 0
    assert dark[1] == pytest.approx(0.25, abs=0.07)


def test_the_strength_is_three_quarters_and_with_a_mask_all(pipe: Pipeline) -> None:
    assert settled(pipe).strength == 0.75
    assert settled(pipe, mask=mask()).strength == 1
    assert pipe.plan("a tree").request.strength is None


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_what_the_mask_keeps_stays_pixel_by_pixel_and_the_rest_is_painted(pipe: Pipeline, strength: float) -> None:
    before = np.asarray(picture()).astype(int)
    after = np.asarray(pipe("a tree", image=picture(), mask=mask(), strength=strength, seed=3).image).astype(int)
    assert np.array_equal(after[:, 8:], before[:, 8:])
    assert abs(after[:, :8] - before[:, :8]).mean() > 20


def test_painted_wholly_anew_a_region_knows_nothing_of_what_was_there(pipe: Pipeline) -> None:
    other = picture()
    other.paste((9, 200, 30), (0, 0, 8, 16))
    drawn = [
        np.asarray(pipe("a tree", image=one, mask=mask(), seed=3, strength=s).image)
        for s in (1, 0.5)
        for one in (picture(), other)
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[2], drawn[3])


def test_a_mask_of_another_size_is_brought_to_the_pictures(pipe: Pipeline) -> None:
    large = mask(0, 0, 32, 64, (64, 64))
    drawn = [np.asarray(pipe("a tree", image=picture(), mask=one, seed=3).image) for one in (mask(), large)]
    assert np.array_equal(*drawn)


def test_without_pasting_the_decoder_has_the_last_word(pipe: Pipeline) -> None:
    begin = begun(pipe, mask=mask(), paste=False)
    drawn = pipe("a tree", image=picture(), mask=mask(), seed=3, paste=False).image
    assert begin.keep is not None
    assert begin.keep[0, 0].sum() == 16 * 8
    assert abs(np.asarray(drawn).astype(int) - np.asarray(picture()))[:, 8:].max() <= 1


def test_the_record_leads_to_the_picture(pipe: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    one = pipe("a tree", image=path, seed=1).pictures[0]
    request = one.record()["request"]
    assert isinstance(request, dict)
    assert request["image"]["path"] == str(path)
    assert len(request["image"]["sha256"]) == 64
    assert "Denoising strength: 0.75" in Image.open(io.BytesIO(one.png())).info["parameters"]
    assert "Denoising strength" not in Image.open(io.BytesIO(pipe("a tree").pictures[0].png())).info["parameters"]


def test_a_strength_that_leaves_no_step_says_what_leaves_one(pipe: Pipeline) -> None:
    assert wrong(pipe, steps=25, strength=0.03) == "strength 0.03 leaves none of 25 steps; 0.04 leaves one"
    assert wrong(pipe, steps=3, strength=0) == "strength 0 leaves none of 3 steps; 0.34 leaves one"
    assert "leaves none" in wrong(pipe, strength=0, exact_steps=True)


def test_bad_pictures_are_one_line(pipe: Pipeline, tmp_path: Path) -> None:
    assert wrong(pipe, image=tmp_path / "no.png") == f"the picture {tmp_path / 'no.png'} does not exist"
    assert wrong(pipe, image=b"odd").startswith("the image that was given is not a picture")
    assert wrong(pipe, mask=b"odd").startswith("the mask that was given is not a picture")
    assert (
        wrong(pipe, mask=mask(0, 0, 0, 0))
        == "the mask that was given has no white pixel, so there is nothing to repaint"
    )
    assert "no side may be over 4096: give a size" in wrong(pipe, image=Image.new("L", (5000, 10)))
    assert wrong(pipe, size=20).startswith("width 20 is not a multiple of 8")


def test_a_picture_that_is_not_the_recorded_one_is_refused(pipe: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    held = settled(pipe, image=path).image
    assert held is not None
    meant = held.model_copy(update={"data": None})
    assert settled(pipe, image=meant).image == held
    Image.new("RGB", (16, 16)).save(path)
    assert wrong(pipe, image=meant).startswith(f"the image {path} has changed since it was recorded: its sha256 is ")
    assert "must be given again with --image" in wrong(pipe, image=InputImage(sha256="00"))


def test_two_groups_of_one_request_start_from_the_same_picture(pipe: Pipeline) -> None:
    options: Options = {"image": picture(), "count": 3, "seed": 1}
    one, other = pipe("a tree", batch_size=1, **options), pipe("a tree", batch_size=3, **options)
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True))
