import io
import json
import re
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests import toy
from torch import nn

import scorefield
from scorefield.api import Pipeline
from scorefield.errors import RequestError
from scorefield.files import picture
from scorefield.notes import UnknownSizeWarning, UnknownWordsWarning
from scorefield.request import Request, parse
from scorefield.sample.walk import NonFiniteError
from scorefield.zoo import registry

TREE = "a tree in the desert"


@pytest.fixture(scope="module")
def pipe():
    return Pipeline(toy.model())


def pixels(image):
    return np.asarray(image).astype(int)


def test_a_prompt_and_a_seed_make_a_picture(pipe):
    result = pipe(TREE, steps=5, guidance=5, seed=0)
    assert result.image.size == (16, 16)
    assert result.seeds == (0,)
    assert result.request.steps == 5
    assert result.request.cfg_scale == 5
    assert pixels(result.image).std() > 10


def test_the_package_itself_draws(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys()])
    assert scorefield.load("toy")(TREE, seed=0).image.size == (16, 16)


def test_the_same_request_makes_the_same_picture_and_another_seed_another(pipe):
    first, again, other = (pipe(TREE, seed=seed).image for seed in (3, 3, 4))
    assert np.array_equal(pixels(first), pixels(again))
    assert not np.array_equal(pixels(first), pixels(other))


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 6},
        {"guidance": 1},
        {"cfg_rescale": 0.7},
        {"cfg_interval": (-1, 1)},
        {"negative_prompt": "red fog"},
        {"sampler": "heun"},
        {"schedule": "karras"},
        {"sampler": "ddim", "eta": 1},
        {"noise": "batch", "sampler": "euler_ancestral"},
        {"size": "24x16"},
    ],
)
def test_every_option_changes_the_picture(pipe, options):
    plain, changed = pipe(TREE, seed=0).image, pipe(TREE, seed=0, **options).image
    assert plain.size != changed.size or not np.array_equal(pixels(plain), pixels(changed))


def test_the_prompt_changes_the_picture(pipe):
    assert not np.array_equal(pixels(pipe("a cat", seed=0).image), pixels(pipe("a dog", seed=0).image))


def test_what_the_request_leaves_open_comes_from_the_model(pipe):
    request = pipe(TREE).request
    defaults = toy.TOY.defaults
    assert (request.steps, request.cfg_scale, request.sampler) == (defaults.steps, defaults.cfg_scale, "euler")
    assert (request.schedule, request.width, request.height) == ("trailing", 16, 16)
    assert (request.model, request.device, request.dtype) == ("toy", "cpu", "float32")


def test_a_random_seed_is_drawn_and_recorded(pipe):
    first, second = pipe(TREE, seed=-1), pipe(TREE)
    assert first.seeds != second.seeds
    assert np.array_equal(pixels(pipe(TREE, seed=first.seeds[0]).image), pixels(first.image))


def test_several_prompts_each_have_their_own_seed(pipe):
    result = pipe(["a tree", "a cat"], count=2, seed=7)
    assert [one.prompt for one in result.pictures] == ["a tree", "a tree", "a cat", "a cat"]
    assert result.seeds == (7, 8, 9, 10)
    assert len(result) == len(list(result)) == 4
    assert result[2] is result.images[2]


def test_a_slice_of_the_pictures_is_pictures(pipe):
    result = pipe(TREE, count=3)
    assert result[1:] == result.images[1:]


def test_a_notebook_shows_the_pictures_and_a_line_shows_what_they_are(pipe):
    one, six = pipe(TREE, seed=3), pipe(TREE, seed=3, count=6)
    assert repr(pipe) == "Pipeline(toy, cpu, float32)"
    assert repr(one.pictures[0]) == f"Picture({TREE!r}, seed 3, 16x16)"
    assert repr(one).startswith(f"Result({TREE!r} seed 3; 0.")
    assert f"{TREE!r} seed 6, and 2 more; " in repr(six)
    shown = pixels(Image.open(io.BytesIO(one._repr_png_())))
    assert np.array_equal(shown, pixels(one.image))
    shown = pixels(Image.open(io.BytesIO(six._repr_png_())))
    assert shown.shape == (2 * 24 + 8, 4 * 24 + 8, 3)
    assert np.array_equal(shown[32:48, 32:48], pixels(six[5]))


def test_seeds_wrap_at_their_end(pipe):
    assert pipe(TREE, count=2, seed=2**64 - 1).seeds == (2**64 - 1, 0)


def test_one_of_several_pictures_has_to_be_chosen(pipe):
    with pytest.raises(ValueError, match="2 pictures"):
        _ = pipe(TREE, count=2).image


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize("batch_size", [16, 3, 1])
def test_a_picture_does_not_depend_on_its_batch(pipe, sampler, batch_size):
    prompts = ["a tree", "a cat", "a dog", "the desert"]
    together = pipe(prompts, seed=5, sampler=sampler, batch_size=batch_size)
    for k, prompt in enumerate(prompts):
        alone = pixels(pipe(prompt, seed=5 + k, sampler=sampler).image)
        away = np.abs(pixels(together[k]) - alone)
        assert away.max() <= 1
        assert (away > 0).mean() <= 1e-3


def test_the_stream_starts_from_the_noise_of_the_seed_alone(pipe):
    whole = next(pipe.stream(["a tree", "a cat"], seed=5)).x
    assert torch.equal(whole[1], next(pipe.stream("a dog", seed=6)).x[0])


def test_a_stream_yields_every_step_and_ends_in_the_picture(pipe):
    steps = list(pipe.stream(TREE, steps=6, seed=0))
    assert [(step.i, step.n) for step in steps] == [(i, 6) for i in range(7)]
    levels = [float(step.at.lam) for step in steps]
    assert levels == sorted(levels)
    assert steps[0].at == (0, 1)
    assert steps[-1].at == (1, 0)
    assert torch.equal(steps[-1].x, steps[-1].x0)
    assert np.array_equal(pixels(pipe.images(steps[-1].x)[0]), pixels(pipe(TREE, steps=6, seed=0).image))
    assert pipe.codec.preview(steps[3].x0).shape == (1, 1, 3, 4, 4)


def test_a_stream_can_be_left_at_any_step(pipe):
    for step in pipe.stream(TREE, steps=1000):
        if step.i == 2:
            break
    assert step.n == 1000


def test_a_stream_leaves_the_grad_mode_of_its_reader_alone(pipe):
    for step in pipe.stream(TREE):
        assert torch.is_grad_enabled()
        assert not step.x.requires_grad


def test_a_stream_of_more_than_a_batch_says_what_to_do(pipe):
    with pytest.raises(RequestError, match="batch_size=3"):
        pipe.stream(TREE, count=3, batch_size=2)


def test_a_request_draws_what_its_options_draw(pipe):
    request = parse({"prompt": TREE, "seed": 1, "steps": 5})
    assert isinstance(request, Request)
    assert np.array_equal(pixels(pipe(request).image), pixels(pipe(TREE, seed=1, steps=5).image))
    with pytest.raises(RequestError, match="complete"):
        pipe(request, steps=3)


def test_a_settled_request_draws_the_same_picture_again(pipe):
    first = pipe(["a tree", "a cat"], sampler="DPM++ 2M Karras", seed=None)
    again = pipe(Request.model_validate_json(first.request.model_dump_json()))
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(pixels(one), pixels(other))


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("Euler a", "euler_ancestral", "trailing"),
        ("k_euler", "euler", "trailing"),
        ("DPM++ 2M", "dpmpp_2m", "trailing"),
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde", "exponential"),
        ("sample_heun", "heun", "trailing"),
    ],
)
def test_samplers_go_by_the_names_of_other_programs(pipe, name, sampler, schedule):
    request = pipe.plan(TREE, sampler=name).request
    assert (request.sampler, request.schedule) == (sampler, schedule)


def test_an_explicit_schedule_wins_over_the_samplers_own(pipe):
    assert pipe.plan(TREE, sampler="dpmpp_2m", schedule="SGM Uniform").request.schedule == "sgm_uniform"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampler": "eulr"}, "euler"),
        ({"schedule": "karas"}, "karras"),
        ({"noise": "per_sampel"}, "per_sample"),
        ({"size": 20}, "width 20 is not a multiple of 8; use 16 or 24"),
        ({"height": 30}, "height 30 is not a multiple of 8; use 24 or 32"),
        ({"sampler": "euler", "eta": 1}, "euler takes no eta"),
        ({"steps": 0}, "steps must be a whole number from 1 to 1000, not 0"),
        ({"steps": 100000}, "steps must be a whole number from 1 to 1000, not 100000"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_before_any_step(pipe, options, says):
    with pytest.raises(RequestError) as caught:
        pipe.plan(TREE, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prompt", [[], [""] * 300, 5, None])
def test_absurd_prompts_are_refused(pipe, prompt):
    with pytest.raises(RequestError):
        pipe(prompt)


@pytest.mark.parametrize("prompts", [{"prompt": "a tree " * 7}, {"prompt": TREE, "negative_prompt": "a tree " * 7}])
def test_a_prompt_that_is_too_long_for_the_model_is_told_before_any_step(pipe, prompts):
    with pytest.raises(RequestError, match="at most 12"):
        pipe.plan(**prompts)


@pytest.mark.parametrize(("name", "value"), [("model", "scenes"), ("device", "cuda"), ("dtype", "bfloat16")])
def test_what_a_pipeline_is_not_loaded_with_is_refused(pipe, name, value):
    for wanted in ({"prompt": TREE, name: value}, {"prompt": Request.model_validate({"prompt": TREE, name: value})}):
        with pytest.raises(RequestError, match=f"not loaded with the {name} {value}; pass it to load"):
            pipe.plan(**wanted)


def test_what_a_pipeline_is_loaded_with_may_be_said_again(pipe):
    said = {"model": "toy", "device": "cpu", "dtype": "float32"}
    assert pipe.plan(TREE, seed=0, **said) == pipe.plan(TREE, seed=0)


def test_an_empty_prompt_draws_without_a_condition(pipe):
    assert np.array_equal(pixels(pipe("", seed=0).image), pixels(pipe("", seed=0, guidance=9).image))


def test_words_that_the_model_never_saw_are_named_with_the_nearest(pipe):
    with pytest.warns(UnknownWordsWarning, match=r"toy never saw trea \(nearest: tree\); zebra") as caught:
        pipe("a trea and a zebra", negative_prompt="fog")
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_flood_of_unknown_words_is_cut_short(pipe):
    prompts = [f"word{k}" + "x" * 5000 for k in range(50)]
    (note,) = pipe.plan(prompts).notes
    assert note.kind is UnknownWordsWarning
    assert re.search(r"word9x{25}\.\.\. and 40 more: ", note.text)
    assert len(note.text) < 1000


@pytest.mark.parametrize(("size", "warns"), [("24x16", False), ("16x32", True), ("8x16", True)])
def test_a_size_far_from_the_models_own_is_a_warning(pipe, size, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe(TREE, size=size)
    told = [str(one.message) for one in caught]
    if not warns:
        assert told == []
        return
    assert [one.category for one in caught] == [UnknownSizeWarning]
    assert f"toy was trained on pictures of 16x16; one of {size} may" in told[0]


def test_known_words_warn_of_nothing(pipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(TREE, negative_prompt="red fog")


class Broken(nn.Module):
    """Right until its third call, then not a number in one sample."""

    def __init__(self, bad):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bad, self.calls = bad, 0

    def forward(self, x, time, tokens, mask):
        self.calls += 1
        out = -x
        if self.calls == 3:
            out[-1, 0, 0, 0] = self.bad
        return out


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_names_step_level_and_tensor(bad):
    pipe = Pipeline(toy.model(Broken(bad)))
    with pytest.raises(NonFiniteError) as caught:
        pipe(TREE, steps=5, guidance=1)
    line = str(caught.value)
    assert "step 2 of 5" in line
    assert "sigma = 0.6" in line
    assert "x0" in line
    assert "\n" not in line


def test_pixels_that_are_no_numbers_are_no_black_picture(pipe):
    with pytest.raises(NonFiniteError, match="pixels"):
        pipe.images(torch.full((1, 3, 16, 16), float("nan")))


def test_pixels_cover_the_whole_range(pipe):
    ramp = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(1, 3, 1, 5)
    assert pixels(pipe.images(ramp)[0])[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_two_threads_with_one_pipeline_give_what_one_gives(pipe):
    wanted = [pixels(pipe(TREE, seed=seed, sampler="dpmpp_2m_sde").image) for seed in range(8)]
    found, start = [None] * 8, threading.Barrier(2)

    def draw(seeds):
        start.wait()
        for seed in seeds:
            found[seed] = pixels(pipe(TREE, seed=seed, sampler="dpmpp_2m_sde").image)

    threads = [threading.Thread(target=draw, args=(range(k, 8, 2),)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(wanted, found, strict=True):
        assert np.array_equal(one, other)


def test_saved_pictures_carry_the_text_of_other_programs_and_our_record(pipe, tmp_path):
    result = pipe(["a tree", "a cat"], negative_prompt="red, fog", seed=9)
    paths = result.save(tmp_path)
    assert [path.name for path in paths] == ["a-tree-0.png", "a-cat-0.png"]
    image, history = picture.read(paths[1])
    assert np.array_equal(pixels(image), pixels(result[1]))
    assert history.a1111.prompt == "a cat"
    assert history.a1111.negative_prompt == "red, fog"
    assert list(history.a1111.pairs.items()) == [
        ("Steps", "4"),
        ("Sampler", "Euler"),
        ("Schedule type", "trailing"),
        ("CFG scale", "3"),
        ("Seed", "10"),
        ("Size", "16x16"),
        ("Model hash", "5ca1ab1e5c"),
        ("Model", "toy"),
        ("RNG", "CPU"),
        ("Weighting", "none"),
        ("Long prompt", "refuse"),
        ("Version", f"scorefield {scorefield.__version__}"),
    ]
    ours = history.ours
    assert ours["request"] == json.loads(result.request.model_dump_json())
    assert (ours["index"], ours["seed"], ours["prompt"]) == (1, 10, "a cat")
    assert np.allclose(ours["levels"], [[0, 1], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1, 0]], rtol=1e-12, atol=0)
    assert (ours["model"], ours["sha256"]) == ("toy", "5ca1ab1e" * 8)
    assert ours["threads"] == torch.get_num_threads()
    assert ours["versions"]["torch"] == torch.__version__
    assert (ours["request"]["noise"], ours["request"]["dtype"], ours["request"]["device"]) == (
        "per_sample",
        "float32",
        "cpu",
    )


def test_other_programs_are_told_the_name_of_a_model_and_not_where_it_lies(pipe):
    found = pipe("a tree", sampler="euler_ancestral", schedule="karras").pictures[0]
    for model, told in {"/home/me/v1-5.safetensors": "v1-5", "/home/me/sd1.5/": "sd1.5", "m.ckpt": "m"}.items():
        elsewhere = replace(found, origin=replace(found.origin, model=model))
        text = Image.open(io.BytesIO(elsewhere.png())).info["parameters"]
        assert f", Model: {told}, " in text
        assert "Sampler: Euler a, Schedule type: Karras, " in text
        assert "Clip skip" not in text
    skipped = replace(found, request=found.request.model_copy(update={"clip_skip": 2}))
    assert ", Clip skip: 2, " in Image.open(io.BytesIO(skipped.png())).info["parameters"]


def test_a_name_is_passed_over_unless_overwriting(pipe, tmp_path):
    result = pipe(TREE, count=2, seed=0)
    names = [path.name for _ in range(2) for path in result.save(tmp_path / "x.png")]
    assert names == ["x.png", "x-1.png", "x-2.png", "x-3.png"]
    assert [path.name for path in result.save(tmp_path / "x.png", overwrite=True)] == ["x.png", "x-1.png"]
    with pytest.raises(ValueError, match=r"x\.png"):
        result.save(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "sceens"}, "scenes"),
        ({"device": "cuda:99"}, "no device cuda:99"),
        ({"device": "tpu"}, "device must be"),
        ({"dtype": "int8"}, "dtype must be"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(options, says):
    with pytest.raises(RequestError) as caught:
        scorefield.load(**options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
