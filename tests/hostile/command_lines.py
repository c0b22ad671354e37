"""Hostile command lines: every command and option with values of every kind."""

import random
from pathlib import Path

import click
from tests.hostile.odd import things, value

from scorefield.cli.main import group

DRAWN = ("-o", "out.png", "--overwrite", "--output=folder", "-q", "--format=json", "--sheet")


def _options(command: click.Command) -> list[click.Parameter]:
    return [param for param in command.params if isinstance(param, click.Option)]


def _command(rng: random.Random, words: list[str]) -> list[str]:
    """Options of a command, with values that fit or not."""
    command: click.Command = group
    for word in words:
        command = command.get_command(click.Context(command), word)  # type: ignore[attr-defined]
    out: list[str] = []
    options = [option for option in _options(command) if option.name != "compiled"]  # which starts a compiler
    for option in rng.sample(options, min(len(options), rng.randint(1, 4))):
        flag = rng.choice([*option.opts, *option.secondary_opts])
        if getattr(option, "is_flag", False):
            out += [flag, *([value(rng)] if rng.random() < 0.1 else [])]
        elif isinstance(option.type, click.Choice) and rng.random() < 0.5:
            out += [flag, rng.choice(list(option.type.choices))]
        else:
            wild = value(rng)
            if flag in ("--set",) and rng.random() < 0.8:
                wild = f"{rng.choice(('steps', 'width', 'lr', 'seed', 'batch', 'x', wild))}={value(rng)}"
            out += rng.choice(
                (
                    [flag, wild],
                    [f"{flag}={wild}"],
                    [flag + wild] if len(flag) == 2 else [flag, wild],
                    [flag] if rng.random() < 0.1 else [flag, wild],
                )
            )
    return out


def make(rng: random.Random, here: Path) -> list[str]:
    """A command with wild options; what would be long work is asked for in a way that cannot begin."""
    things(here)
    name = rng.choice(
        ("generate",) * 8
        + ("replay", "inspect", "convert", "convert", "train", "lab", "lab", "eval", "bench", "models", "wild")
    )
    if name == "wild":
        return [value(rng) for _ in range(rng.randint(0, 4))]
    if name == "generate":
        prompts = [value(rng) for _ in range(rng.choice((1, 1, 1, 0, 2)))] if rng.random() < 0.5 else ["a red dog"]
        wild = _command(rng, [name])
        # Large pictures, many of them and many steps are what somebody may ask for: they are planned only.
        planned = any(
            word in " ".join(wild)
            for word in (
                "--size",
                "-W",
                "-H",
                "--width",
                "--height",
                "-b",
                "--count",
                "--steps",
                "--num-inf",
                "--walk",
                "--film",
            )
        )
        extra = (
            ["--dry-run"]
            if planned
            else ["--steps", "1"]
            if rng.random() < 0.8
            else ["--steps", "1", "-m", "model", "--size", "64"]
        )
        return [name, *prompts, *wild, *extra]
    if name in ("replay", "inspect"):
        return [name, value(rng) if rng.random() < 0.5 else "drawn.png", *_command(rng, [name])]
    if name == "convert":
        return [
            name,
            rng.choice((value(rng), "model", "model.safetensors")),
            rng.choice((value(rng), "out", "out.safetensors")),
            *_command(rng, [name]),
        ]
    if name == "train":
        return [name, value(rng), *_command(rng, [name])]
    if name == "lab":
        return [
            name,
            rng.choice(("", "order", value(rng))),
            *_command(rng, [name]),
            *rng.choice((["--describe"], ["--set", "nope=1"], ["--set", value(rng)])),
        ]
    if name == "eval":
        which = rng.choice(("adherence", "drawing", "guidance", "judge"))
        return [
            name,
            which,
            *_command(rng, [name, which]),
            "--count",
            rng.choice(("0", "-1", "nan", "1e9", "", "9" * 40, "\x1b[31m", "10000")),
        ]
    if name == "bench":
        return [name, *_command(rng, [name]), "--size", rng.choice(("0", "-1", "1e9", "", "\x1b[31m"))]
    return [name, *_command(rng, [name]), *([value(rng)] if rng.random() < 0.2 else [])]
