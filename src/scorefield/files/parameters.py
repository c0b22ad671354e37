"""The `parameters` text of AUTOMATIC1111 and its kin: the prompt, the negative prompt, one line of pairs."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# What AUTOMATIC1111 calls our samplers and schedules: it finds them by these names alone. The others it does not have.
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
_FEWEST_PAIRS = 3  # a last line with fewer is part of the prompt
_NEGATIVE = "Negative prompt: "
_PAIR = re.compile(r'\s*([\w][\w \-/]*):\s*("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)')


class Parameters(NamedTuple):
    """What such a text says; `pairs` keeps the file's order."""

    prompt: str
    negative_prompt: str
    pairs: dict[str, str]


def write(prompt: str, negative_prompt: str, pairs: Mapping[str, object]) -> str:
    """The text for one picture; a value that holds a comma, a colon or a newline is written as a JSON string."""
    lines = [prompt]
    if negative_prompt:
        lines.append(_NEGATIVE + negative_prompt)
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items()))
    return "\n".join(lines)


def read(text: str) -> Parameters:
    """The parts of a `parameters` text; a text without a line of pairs is all prompt."""
    *body, last = text.strip().split("\n")
    pairs = {name: _plain(value) for name, value in _PAIR.findall(last)}
    if len(pairs) < _FEWEST_PAIRS:
        body, pairs = [*body, last], {}
    start = next((k for k, line in enumerate(body) if line.strip().startswith(_NEGATIVE.strip())), len(body))
    negative = "\n".join(body[start:]).strip().removeprefix(_NEGATIVE.strip()).strip()
    return Parameters("\n".join(body[:start]).strip(), negative, pairs)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _plain(value: str) -> str:
    value = value.strip()
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except json.JSONDecodeError:
        return value
