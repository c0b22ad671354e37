"""Reading `parameters`: nothing is dropped, prompts are not taken for pairs, and time grows with the length alone."""

import json
import random
import time

import pytest

from scorefield.files import parameters

PAIRS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Hashes", '{"vae": "735e4c3a44", "model": "b1, c2", "lora:x": "3"}'),
        (
            "Civitai resources",
            '[{"type":"checkpoint","modelVersionId":1,"weight":0.8},{"type":"lora","names":["a, b"]}]',
        ),
        ("Civitai metadata", "{}"),
        ("Deep", '[[{"a": [1, 2, {"b": "}, Seed: 6"}]}], "]"]'),
        ("Lora weights", "[0.33, 0.3, -1e-3]"),
    ],
)
@pytest.mark.parametrize("place", ["last", "in the middle"])
def test_a_value_of_json_is_whole(name: str, value: str, place: str) -> None:
    after = "" if place == "last" else ", Version: v1.10.1, RNG: CPU"
    pairs = parameters.read(f"a tree\n{PAIRS}, {name}: {value}{after}").pairs
    assert pairs[name] == value
    assert pairs["Seed"] == "5"
    assert list(pairs)[-1] == (name if place == "last" else "RNG")


def test_json_over_several_lines_is_whole() -> None:
    value = json.dumps({"a": [1, {"b": "c, d: e"}], "f": "g"}, indent=2)
    found = parameters.read(f"a tree\nin two lines\nNegative prompt: fog\n{PAIRS}, Extra: {value}")
    assert (found.prompt, found.negative_prompt) == ("a tree\nin two lines", "fog")
    assert json.loads(found.pairs["Extra"]) == json.loads(value)


@pytest.mark.parametrize(
    ("text", "prompt", "negative"),
    [
        (f"a tree {PAIRS}", "a tree", ""),
        (f"a tree, {PAIRS}", "a tree", ""),
        (f"a tree. {PAIRS}", "a tree.", ""),
        (f"a tree, (red:1.2), mood: calm {PAIRS}", "a tree, (red:1.2), mood: calm", ""),
        (f"a tree Negative prompt: fog, rain {PAIRS}", "a tree", "fog, rain"),
        (f"a tree, Negative prompt: fog, {PAIRS}", "a tree", "fog"),
        (f"a tree\nNegative prompt: fog\nand rain {PAIRS}", "a tree", "fog\nand rain"),
        (f"two\nlines {PAIRS}", "two\nlines", ""),
        (f"Negative prompt: fog {PAIRS}", "", "fog"),
    ],
)
def test_a_prompt_on_the_line_of_the_pairs_is_kept(text: str, prompt: str, negative: str) -> None:
    found = parameters.read(text)
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    assert list(found.pairs) == ["Steps", "Sampler", "CFG scale", "Seed", "Size"]


@pytest.mark.parametrize(
    "text",
    [
        "a: b, c: d, e: f",
        "a tree\nstyle: photo, light: low, mood: calm, lens: 35mm",
        "a tree\nHires steps: 10, Hires upscaler: Latent, Hires upscale: 2",
        "the steps: 20, 30, and 40: then down",
        "Steps: 20, and down",
        "a tree\nSteps: many, Sampler: unknown, Seed: none",
        "a Negative prompt: in the middle of a line",
        "a staircase, Steps: 5",
    ],
)
def test_a_line_without_steps_is_prompt_however_many_pairs_it_seems_to_have(text: str) -> None:
    assert parameters.read(text) == (text, "", {})


def test_known_keys_in_front_of_the_steps_are_pairs_too() -> None:
    found = parameters.read("a tree, mood: calm, Seed: 5, Sampler: Euler, Steps: 20, Size: 8x8")
    assert found.prompt == "a tree, mood: calm"
    assert found.pairs == {"Seed": "5", "Sampler": "Euler", "Steps": "20", "Size": "8x8"}


def test_nothing_of_a_line_of_pairs_is_dropped() -> None:
    line = (
        'Steps: 20, Sampler: Euler a, with a comma, Seed: 3, Seed: 4, Path: "C:\\models\\a, b: c", Broken: {"a": 1, '
        'Model: "unclosed, Empty: , Last: 1'
    )
    pairs = parameters.read(f"a tree\n{line}").pairs
    assert pairs == {
        "Steps": "20", "Sampler": "Euler a, with a comma", "Seed": "3", "Seed (2)": "4",
        "Path": '"C:\\models\\a, b: c"', "Model": '"unclosed', "Broken": '{"a": 1', "Empty": "", "Last": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        'say "hi", then: go',
        "two\nlines",
        "back\\slash, \\n",
        "tab\t, here",
        "熊, 🐻",
        '"quoted"',
        "{not: json",
        "[1, 2",
    ],
)
def test_a_quoted_value_comes_back_with_its_escapes(value: str) -> None:
    pairs = {"Steps": "1", "Seed": "2", "Note": value, "Size": "8x8"}
    assert parameters.read(parameters.write("a", "b", pairs)) == ("a", "b", pairs)


def test_strings_of_controlnet_and_hashes_stay_one_value() -> None:
    unit = "Module: canny, Model: control_v11p [d14c016b], Weight: 1, Resize Mode: Crop and Resize"
    hashes = "detail: 1a2b3c, style (v2): 4d5e6f"
    text = f'a tree\n{PAIRS}, ControlNet 0: "{unit}", Lora hashes: "{hashes}", TI hashes: "x: 12", Version: f2.0.1v1.10'
    pairs = parameters.read(text).pairs
    assert (pairs["ControlNet 0"], pairs["Lora hashes"], pairs["TI hashes"]) == (unit, hashes, "x: 12")


def test_negative_prompts_of_many_lines_and_windows_line_ends() -> None:
    found = parameters.read(f"a tree\r\nby day\r\nNegative prompt: fog,\r\n\r\nrain: heavy, a: b, c: d\r\n{PAIRS}\r\n")
    assert (found.prompt, found.negative_prompt) == ("a tree\nby day", "fog,\n\nrain: heavy, a: b, c: d")
    assert found.pairs["Size"] == "512x512"


def test_lines_behind_the_pairs_are_kept() -> None:
    found = parameters.read(f"a tree\n{PAIRS}\nTemplate: a {{red|blue}} tree\nNegative Template: fog")
    assert found.prompt == "a tree"
    assert found.pairs["Template"] == "a {red|blue} tree"
    assert found.pairs["Negative Template"] == "fog"


def test_the_json_of_swarmui_is_understood() -> None:
    values = {"prompt": "a tree", "negativeprompt": "fog", "seed": 5, "loras": ["a", "b"]}
    text = json.dumps({"sui_image_params": values, "sui_extra_data": {"date": "today"}})
    assert parameters.read(text) == (
        "a tree", "fog", {"seed": "5", "loras": '["a", "b"]', "sui_extra_data": '{"date": "today"}'}
    )  # fmt: skip
    for odd in ('{"sui_image_params": [1]}', '{"sui_image_params": {', '{"sui_image_params": ' + "[" * 5000):
        assert parameters.read(odd).prompt == odd


def test_what_is_written_is_read_again_whatever_the_values() -> None:
    draw = random.Random(0)
    signs = [*'ab :,"{}[]\\\n', "Steps", ": 2", "\u2028", "é", "<lora:x:1>"]
    for _ in range(2000):
        value = "".join(draw.choices(signs, k=draw.randrange(12))).strip()
        pairs = {"Steps": "7", "Seed": "1", "Odd": value, "Version": "x"}
        try:
            json.loads(value)
        except ValueError:
            assert parameters.read(parameters.write("a tree", "", pairs)).pairs == pairs, value


def _grown(pattern: str, size: int) -> str:
    head, _, rest = pattern.partition("|")
    return head + rest * (size // len(rest))


@pytest.mark.parametrize(
    "pattern",
    ["|a", "| ", "|a ", "|a:,", "|\n", "Steps: 1,| ", "Steps:| ", "|Steps: 1 ", "|Steps: 1,", "|Steps: 1\n",
     "Steps: 1, a: 1, b: |[", 'Steps: 1, a: 1, b: |{"a":', 'Steps: 1, a: 1, b: "|\\', 'Steps: 1, b: 1, c: 2,|a:"x,',
     "Steps: 1, a: 1, b: 2|,x", "Steps: 1,|a (2): 1,a: 1,", "|Negative prompt:\n", "|Seed: 1,", "Steps: 1, a: 1, |k ",
     "Steps: 1, a: 1, b: 1,|a: [1,", "|(", "|\t,"],
)  # fmt: skip
def test_time_is_linear_in_the_length_of_the_text(pattern: str) -> None:
    text = _grown(pattern, 400_000)
    start = time.process_time()
    found = parameters.read(text)
    assert time.process_time() - start < 3, "0.3 s on two cores; quadratic time would be minutes"
    kept = sum(map(len, found.pairs.values())) + len(found.prompt) + len(found.negative_prompt)
    assert kept or not text.strip(" \n\t,")


def test_a_text_of_fifty_megabytes_is_not_taken_apart() -> None:
    text = "a tree\nSteps: 1, a: b, c: d" + ", e: f" * 8_000_000
    start = time.process_time()
    assert parameters.read(text) == (text, "", {})
    assert time.process_time() - start < 1
