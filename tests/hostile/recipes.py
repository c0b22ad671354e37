"""Hostile recipes: settings, files that are no recipe, and the state, log and lock of a run that were changed."""

import json
import random
from pathlib import Path

from tests.hostile import whole
from tests.hostile.odd import ESCAPE, damaged, json_text, put, things, value
from tests.hostile.weights import lying

RECIPES = whole.ROOT / "recipes"
TINY = str(RECIPES / "tiny.py")
FILES = (
    "def recipe(:\n", "def recipe(\n" * 3000, "", "\0def recipe(): 1", "\ufeffdef recipe(): return 3", "x = 1",
    "recipe = 3", "def recipe(a): return a",
    "import nowhere_at_all\ndef recipe(): ...", "def recipe(): return None",
    "def recipe(" + "(" * 5000, "é = 1\ndef recipe(): return é", "# coding: nope\ndef recipe(): 1",
    "def recipe(**k): 1",
    "\x1b[31mdef recipe(): 1", "def recipe(\x1b[31m): 1", "  def recipe(): 1", "def recipe(): return '\udcff'",
)  # fmt: skip


def _state(here: Path, rng: random.Random) -> None:
    """The saved state of the run: its header, its tensors, its bytes."""
    path = here / "run" / "state.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    kind = rng.random()
    if kind < 0.5 and "__metadata__" in header:
        told = header["__metadata__"]
        name = rng.choice(list(told))
        try:
            told[name] = json_text(json.loads(told[name]), rng)
        except ValueError:
            told[name] = rng.choice(("", ESCAPE, "9" * 6000, "nan"))
        text = json.dumps(header).encode()
        data = len(text).to_bytes(8, "little") + text + data[8 + size :]
    elif kind < 0.8:
        data = lying(data, rng)
    else:
        data = damaged(data, rng)
    put(path, data)
    if rng.random() < 0.8:
        put(here / "run" / "state-stable.safetensors", data)


def _log(here: Path, rng: random.Random) -> None:
    path = here / "run" / "log.jsonl"
    lines = path.read_text().splitlines()
    if rng.random() < 0.5:
        lines[rng.randrange(len(lines))] = json_text(json.loads(lines[0]), rng)
    else:
        lines.insert(
            rng.randrange(len(lines) + 1),
            rng.choice(
                (
                    "",
                    "{}",
                    '{"step": "\x1b[31m"}',
                    '{"step": NaN}',
                    '{"step": 1e999}',
                    "[" * 9999,
                    "\0",
                    '{"step": 1' + "0" * 5000 + "}",
                )
            ),
        )
    put(path, "\n".join(lines).encode("utf-8", "surrogatepass") + rng.choice((b"\n", b"", b"\xff\n", b'\n{"step":')))


def _run(here: Path, rng: random.Random) -> None:
    """Something else under one of the names that a run's folder has."""
    path = (
        here
        / "run"
        / rng.choice(("state.safetensors", "log.jsonl", "lock", "state-stable.safetensors", "tiny.safetensors"))
    )
    path.unlink()
    kind = rng.randrange(5)
    if kind == 0:
        path.symlink_to(rng.choice(("/dev/zero", "loop", "../novel.txt", "../fifo", "/dev/full")))
    elif kind == 1:
        (here / "fifo").rename(path)
    elif kind == 2:
        path.mkdir()
    else:
        path.write_bytes(rng.choice((b"", b"\0", b"\xff" * 99, b"{}\n", b"1")))


def make(rng: random.Random, here: Path) -> list[str]:
    """Train with a wild setting, with a file that is none, or from a state that was changed."""
    things(here)
    kind = rng.random()
    if kind < 0.55:
        for damage in rng.choice(((_state,), (_state,), (_log,), (_run,), (_state, _log), (_log, _run))):
            damage(here, rng)
        wild = [] if rng.random() < 0.8 else ["--set", f"{rng.choice(('width', 'lr', 'seed'))}={value(rng)}"]
        more = rng.choice((["--resume"], [], ["--finish"], ["--fresh"], []))
        return [
            "train",
            TINY,
            "--output",
            "run",
            "--steps",
            rng.choice(("5", "3", "2", "4")),
            "--precision",
            "float32",
            *more,
            *wild,
        ]
    if kind < 0.75:
        text = rng.choice(FILES).encode("utf-8", "surrogateescape")
        name = rng.choice(("x.py", "x.py", "x", "x.txt"))
        put(here / name, text if rng.random() < 0.8 else damaged((RECIPES / "tiny.py").read_bytes(), rng, front=10**6))
        return [
            "train",
            name,
            "--output",
            "new",
            "--steps",
            "2",
            *rng.choice(([], [], ["--set", f"width={value(rng)}"])),
        ]
    recipe = rng.choice(
        ("tiny", "tiny", "autoencoder", "clip", "generator", "judge", "sprites", "textual_inversion", "record")
    )
    names = (
        "width",
        "lr",
        "batch",
        "seed",
        "steps",
        "token",
        "pictures",
        "bank",
        "count",
        "init",
        "vectors",
        "latents",
        ESCAPE,
        "",
    )
    wild = [f"--set={rng.choice(names)}={value(rng)}" for _ in range(rng.randint(1, 3))]
    if recipe != "tiny":
        wild.append(
            rng.choice(("--set=nope=1", "--set=batch=-1", "--set=seed=nan", "--steps=0", "--set==", "--threads=0"))
        )
    return ["train", str(RECIPES / f"{recipe}.py"), "--output", "new", "--steps", "2", "--precision", "float32", *wild]
