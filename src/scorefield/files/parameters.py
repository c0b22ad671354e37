"""The `parameters` text of AUTOMATIC1111 and compatible programs: prompt, negative prompt, and a line of pairs.

Reading takes linear time and drops nothing: text that is not understood stays part of the prompt or of a value.
"""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# AUTOMATIC1111's names for our samplers and schedules. It does not have the others.
SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "ddim": "DDIM",
        "euler": "Euler",
        "euler_ancestral": "Euler a",
        "heun": "Heun",
        "dpm2": "DPM2",
        "lms": "LMS",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_2m_sde": "DPM++ 2M SDE",
        "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
        "dpmpp_sde": "DPM++ SDE",
        "dpmpp_3m_sde": "DPM++ 3M SDE",
        "unipc": "UniPC",
    }
)
SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "karras": "Karras",
        "exponential": "Exponential",
        "polyexponential": "Polyexponential",
        "sgm_uniform": "SGM Uniform",
        "kl_optimal": "KL Optimal",
        "simple": "Simple",
        "normal": "Normal",
        "ddim_uniform": "DDIM",
        "beta": "Beta",
    }
)
_NEGATIVE = "Negative prompt:"
_MOST_LETTERS = 2**20  # of a text to parse
_FEWEST_PAIRS = 3  # fewer are part of the prompt, as in AUTOMATIC1111
# Every program writes the steps. Some write other pairs before them, after a prompt on the same line.
_STEPS = re.compile(r"(?:^|(?<=[\s,.]))Steps:[ \t]*\d")
_MOST_STARTS = 16  # places of "Steps: 20" in one line to try as the start of the pairs
_IN_FRONT = frozenset(
    {"Sampler", "Schedule type", "Scheduler", "CFG scale", "Seed", "Size", "Model", "Model hash", "VAE", "VAE hash",
     "Clip skip", "Denoising strength", "Version", "RNG", "ENSD", "Eta", "Parser", "Operations", "Batch", "App"}
)  # fmt: skip
_KEY = re.compile(r"[ \t]*(\w[^,:\n\"{}\[\]<>]{0,99}):")
_STRING = re.compile(r'"(?:[^"\\\n]++|\\.)*+"')
_SEPARATOR = re.compile(r"[,\n]")
_SCAN = json.JSONDecoder()
_MOST_FAILURES = 16  # failed JSON values in one text, since each may read to its end


class Parameters(NamedTuple):
    """The parts of such a text; `pairs` keeps its order, and the values as written, JSON included."""

    prompt: str
    negative_prompt: str
    pairs: dict[str, str]


def write(prompt: str, negative_prompt: str, pairs: Mapping[str, object]) -> str:
    """The text for one picture; a value with a comma, a colon or a newline is written as a JSON string."""
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items()))
    return "\n".join(lines)


def read(text: str) -> Parameters:
    """The parts of a `parameters` text; all of it is prompt if there are no pairs, or more than 2^20 letters.

    The pairs are on the last line, perhaps after the prompt, or from a line that begins with "Steps: 20," to the end. A
    repeated key is numbered: "Seed", "Seed (2)". SwarmUI's JSON is understood, too.
    """
    text = text.replace("\r\n", "\n").strip()
    if len(text) > _MOST_LETTERS:
        return Parameters(text, "", {})
    if (swarm := _swarm(text)) is not None:
        return swarm
    before, pairs = _split(text)
    lines = before.split("\n")
    start = next((k for k, line in enumerate(lines) if line.lstrip().startswith(_NEGATIVE)), None)
    if start is not None:
        prompt, negative = "\n".join(lines[:start]), "\n".join(lines[start:])
    elif pairs and len(lines) == 1:  # all of it on one line
        prompt, mark, negative = before.partition(f" {_NEGATIVE}")
        prompt, negative = prompt.rstrip().removesuffix(",") if mark else prompt, mark + negative
    else:
        prompt, negative = before, ""
    return Parameters(prompt.strip(), negative.strip().removeprefix(_NEGATIVE).strip(), pairs)


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The text before the pairs, and the pairs."""
    last = text.rfind("\n") + 1
    for found, _ in zip(_STEPS.finditer(text, last), range(_MOST_STARTS), strict=False):
        start = _first_known(text, last, found.start())
        pairs = _pairs(text[start:])
        if len(pairs) >= _FEWEST_PAIRS:
            before = text[:start]
            return (before.rstrip().removesuffix(",") if start > last else before), pairs
    end = last
    while end > 0:  # upwards: the last value may have several lines
        start = text.rfind("\n", 0, end - 1) + 1
        if _STEPS.match(text, start) and len(_pairs(text[start : end - 1])) >= _FEWEST_PAIRS:
            return text[:start], _pairs(text[start:])
        end = start
    return text, {}


def _first_known(text: str, start: int, steps: int) -> int:
    """The start of the pairs of the line from `start`: the steps, or known keys directly before them."""
    while True:
        end = steps
        while end > start and text[end - 1] in " \t":
            end -= 1
        if end == start or text[end - 1] != ",":
            return steps
        key = _KEY.match(text, max(start, text.rfind(",", start, end - 1) + 1), end - 1)
        if key is None or key[1].strip() not in _IN_FRONT:
            return steps
        steps = key.start(1)


def _pairs(text: str) -> dict[str, str]:
    """The pairs of a text that begins with a key; text that is not a pair belongs to the value before it."""
    pairs: dict[str, str] = {}
    counts: dict[str, int] = {}
    failures = 0
    name, value_start, place = "", 0, 0
    while place < len(text):
        if (key := _KEY.match(text, place)) is not None:
            if name:
                pairs[_numbered(name, counts)] = _plain(text[value_start : place - 1])
            name, value_start = key[1].strip(), key.end()
            place = _value_end(text, value_start) if failures < _MOST_FAILURES else -1
            failures += place < 0
            place = _cut(text, value_start) if place < 0 else place
        else:
            place = _cut(text, place)
        place += 1
    return pairs | {_numbered(name, counts): _plain(text[value_start:])} if name else pairs


def _value_end(text: str, start: int) -> int:
    """The end of the value; -1 for broken JSON."""
    while text.startswith((" ", "\t"), start):
        start += 1
    if text.startswith('"', start):
        end = found.end() if (found := _STRING.match(text, start)) else -1
    elif text.startswith(("{", "["), start):
        try:
            end = _SCAN.raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            end = -1
    else:
        end = start
    return end if end < 0 else _cut(text, end)


def _cut(text: str, start: int) -> int:
    """The position of the next comma or end of line."""
    return found.start() if (found := _SEPARATOR.search(text, start)) else len(text)


def _numbered(name: str, counts: dict[str, int]) -> str:
    counts[name] = counts.get(name, 0) + 1
    if counts[name] == 1:
        return name
    return _numbered(f"{name} ({counts[name]})", counts)


def _swarm(text: str) -> Parameters | None:
    """The parts of SwarmUI's JSON; None for any other text."""
    if not (text.startswith("{") and '"sui_image_params"' in text):
        return None
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = held.get("sui_image_params") if isinstance(held, dict) else None
    if not isinstance(values, dict):
        return None
    rest = dict(values) | {name: value for name, value in held.items() if name != "sui_image_params"}
    prompt, negative = (rest.pop(name, "") for name in ("prompt", "negativeprompt"))
    return Parameters(str(prompt), str(negative), {name: _text(value) for name, value in rest.items()})


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quoted(value: str) -> str:
    odd = value.startswith('"') or any(sign in value for sign in ",:\n")
    return json.dumps(value, ensure_ascii=False) if odd else value


def _plain(value: str) -> str:
    value = value.strip()
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except (ValueError, RecursionError):
        return value
