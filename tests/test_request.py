import json

import pytest

from scorefield.errors import RequestError
from scorefield.request import GROUPS, Options, Request, fields, parse, sides


def wrong(**values):
    with pytest.raises(RequestError) as caught:
        parse(values)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_one_prompt_is_enough():
    request = parse({"prompt": "a tree"})
    assert request.prompts == ("a tree",)
    assert request.steps is None
    assert request.count == 1


def test_a_request_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        parse({"prompt": "a tree"}).steps = 3


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("num_inference_steps", "steps", 7),
        ("sample_steps", "steps", 7),
        ("guidance", "cfg_scale", 3.5),
        ("guidance_scale", "cfg_scale", 3.5),
        ("cfg", "cfg_scale", 3.5),
        ("scheduler", "schedule", "karras"),
        ("sampler_name", "sampler", "euler"),
        ("sampling_method", "sampler", "euler"),
        ("num_images_per_prompt", "count", 2),
    ],
)
def test_the_names_that_others_use_mean_the_same(alias, name, value):
    assert getattr(parse({"prompt": "a tree", alias: value}), name) == value


def test_two_names_of_one_thing_are_refused():
    line = wrong(prompt="a tree", steps=3, num_inference_steps=4)
    assert line == "num_inference_steps is another name of steps; give one of the two"


def test_an_unknown_option_is_named_with_the_nearest_or_the_known_ones():
    assert wrong(prompt="a tree", stepz=3) == "there is no option 'stepz'; nearest: steps, paste"
    line = wrong(prompt="a tree", zzz=3)
    assert "'zzz'" in line
    assert "cfg_scale" in line


@pytest.mark.parametrize("steps", [0, -1, 1001, 100000, "x", 2.5, "", float("nan")])
def test_steps_out_of_range_say_the_range(steps):
    assert wrong(prompt="a tree", steps=steps) == f"steps must be a whole number from 1 to 1000, not {steps!r}"


@pytest.mark.parametrize("steps", [1, 1000, "25", 25.0])
def test_steps_in_range_pass(steps):
    assert parse({"prompt": "a tree", "steps": steps}).steps == int(steps)


@pytest.mark.parametrize("prompt", [[], 5, None, [3], b"a", {"a": 1}, ["a"] * 257])
def test_absurd_prompt_lists_are_refused(prompt):
    assert "must be a text, or 1 to 256 texts" in wrong(prompt=prompt)


def test_a_request_without_a_prompt_says_so():
    assert wrong(steps=3) == "there is no prompt; say what to draw"


@pytest.mark.parametrize(
    ("prompt", "says"), [("a" * 10001, "too long"), ("a\0b", "control character"), ("a\udc80b", "UTF-8")]
)
def test_an_unusable_prompt_says_why(prompt, says):
    assert says in wrong(prompt=prompt)
    assert says in wrong(prompt="a tree", negative_prompt=prompt)


@pytest.mark.parametrize("prompt", ["", "zwei\nZeilen", "ein Bär 熊 🐻"])
def test_any_written_text_is_a_prompt(prompt):
    assert parse({"prompt": prompt}).prompts == (prompt,)


def test_too_many_pictures_are_refused_before_any_is_drawn():
    assert wrong(prompt=["a", "b"], count=600).startswith("1200 pictures are too many")


@pytest.mark.parametrize("seed", [-1, "-1", None])
def test_minus_one_asks_for_a_random_seed(seed):
    assert parse({"prompt": "a tree", "seed": seed}).seed is None


def test_seeds_reach_from_0_to_2_to_the_64():
    assert parse({"prompt": "a", "seed": 2**64 - 1}).seed == 2**64 - 1
    assert "2^64" in wrong(prompt="a", seed=2**64)
    assert "2^64" in wrong(prompt="a", seed=-2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(64, (64, 64)), ("64", (64, 64)), ("64x32", (64, 32)), ("64*32", (64, 32)), ("64X32", (64, 32)), ((64, 32),) * 2],
)
def test_a_size_is_a_number_a_text_or_a_pair(size, expected):
    assert sides(size) == expected
    request = parse({"prompt": "a", "size": size})
    assert (request.width, request.height) == expected


@pytest.mark.parametrize("size", ["12x", "x", "1x2x3", "-4", 1.5, True, (1,), ("a", "b"), {}])
def test_a_size_of_another_form_is_refused(size):
    assert wrong(prompt="a", size=size).startswith("size must be WIDTHxHEIGHT")


def test_a_size_out_of_range_is_refused():
    assert wrong(prompt="a", size=100000) == "size must give a width that is a whole number from 8 to 4096, not 100000"


def test_an_interval_is_two_rising_numbers():
    assert parse({"prompt": "a", "cfg_interval": "-4,2.5"}).cfg_interval == (-4, 2.5)
    assert parse({"prompt": "a", "cfg_interval": (-4, 2)}).cfg_interval == (-4, 2)
    for odd in ("2,-4", "2", "a,b", "nan,1", "1,inf", (1, 1), (1, 2, 3)):
        assert "LO,HI" in wrong(prompt="a", cfg_interval=odd)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cfg_scale", float("inf")),
        ("cfg_scale", -1),
        ("cfg_rescale", 1.1),
        ("eta", -0.1),
        ("count", 0),
        ("batch_size", 0),
        ("dtype", "int8"),
        ("device", "tpu"),
        ("device", "cuda:x"),
        ("sampler", ""),
        ("model", ""),
    ],
)
def test_every_other_value_out_of_range_is_named_with_what_it_must_be(name, value):
    line = wrong(prompt="a", **{name: value})
    assert line.startswith(f"{name} must be ")
    assert repr(value) in line


def test_a_request_survives_json():
    request = parse({"prompt": ["a", "b"], "seed": 2**64 - 1, "cfg_interval": (-4, 2), "size": 64})
    assert parse(json.loads(request.model_dump_json())) == request


def test_every_option_has_its_own_flags_and_words():
    shown = {name: (option, words) for group in GROUPS for name, option, words in fields(group)}
    assert set(shown) == {*Request.model_fields, "size", "guidance_scale"}
    flags = [flag for option, _ in shown.values() for flag in option.flags]
    assert len(flags) == len(set(flags))
    assert all(option.expects and words for name, (option, words) in shown.items() if name != "prompts")


def test_the_keyword_arguments_of_the_pipeline_are_options_of_the_request():
    fine = {"cfg_interval": (0, 1), "sampler": "euler", "schedule": "karras", "scheduler": "karras", "noise": "cpu"}
    fine |= {"negative_prompt": "fog", "cfg_rescale": 0.5, "eta": 0.5, "noise": "batch", "batch_size": 4}
    fine |= {"image": "b.png", "mask": "m.png", "strength": 0.5, "exact_steps": True, "fit": "stretch", "paste": False}
    fine |= {
        "image_prompt": "b.png",
        "last_image": "c.png",
        "weighting": "comfy",
        "long_prompt": "refuse",
        "clip_skip": 2,
        "tile": 64,
    }
    base = {"prompt": "a", "image": "a.png", "image_prompt": "a.png"}
    for name in Options.__annotations__:
        assert parse(base | {name: fine.get(name, 16)}) != parse(base)


@pytest.mark.parametrize("word", ["automatic", "Automatic"])
def test_an_automatic_schedule_is_the_models_own(word: str) -> None:
    assert parse({"prompt": "a tree", "schedule": word}) == parse({"prompt": "a tree"})


def test_an_image_prompt_needs_no_words() -> None:
    request = parse({"image_prompt": "a.png", "noise_level": "7"})
    assert request.prompts == ("",)
    assert request.image_prompt is not None
    assert (request.image_prompt.path, request.noise_level) == ("a.png", 7)
    assert parse({"image_prompt": "a.png", "prompt": "a tree"}).prompts == ("a tree",)
    with pytest.raises(RequestError, match="there is no prompt; say what to draw"):
        parse({})
