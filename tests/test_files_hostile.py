"""Hundreds of damaged and hostile pictures and records: each is read or refused in one line, quickly and in little."""

import json
import random
import resource
import struct
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tests.hostile.pictures import PNG, SEED, big_bilevel, changed, chunk, mended, seeds

from scorefield.cli import main
from scorefield.files import inputs, picture
from scorefield.files.open_picture import PictureError
from scorefield.notes import collecting
from scorefield.printable import printable

ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"


def cases() -> Iterator[tuple[str, bytes]]:
    draw, whole = random.Random(SEED), seeds()
    yield from whole.items()
    for name, held in whole.items():
        for k in range(24):
            yield f"{name} {k}", changed(held, draw)
    for k in range(40):
        yield f"noise {k}", draw.choice(list(whole.values()))[: draw.randrange(4, 30)] + draw.randbytes(300)


def one_line(read: Callable[[], object], name: str) -> bool:
    """Whether `read` answers; otherwise it refuses in one line."""
    try:
        read()
    except PictureError as error:
        line = str(error)
    else:
        return True
    assert "\n" not in line, name
    assert printable(line) == line, name
    assert len(line) < 300, name
    return False


def test_every_picture_is_read_or_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, read, longest = tmp_path / "x", 0, 0.0
    total = 0
    with collecting(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, held in cases():
            path.write_bytes(held)
            start = time.process_time()
            read += one_line(lambda held=held: inputs.colours(held, "x"), name)
            one_line(lambda held=held: inputs.greys(held, "x"), name)
            one_line(lambda: picture.read_history(path), name)
            one_line(lambda: picture.read(path), name)
            longest, total = max(longest, time.process_time() - start), total + 1
    assert total > 600
    assert 0.15 * total < read < 0.9 * total, "the cases are neither all damaged nor all whole"
    assert longest < 3
    assert capfd.readouterr() == ("", "")


def test_a_palette_that_is_missing_is_damage(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0)
    held = PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(20))) + chunk(b"IEND", b"")
    for read in (inputs.colours, inputs.greys):
        with pytest.raises(PictureError, match="x is damaged: its header contradicts itself"):
            read(held, "x")


def test_no_header_makes_its_reader_take_memory_that_the_file_could_not_need(tmp_path: Path) -> None:
    whole = seeds()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, held in whole.items():
        for size in (4, 2):  # widths, heights, counts and offsets as large as they can be written
            for place in range(4, min(len(held), 120), size):
                wide = bytearray(held)
                wide[place : place + size] = b"\x7f\xff\xff\xff"[:size]
                hostile = mended(bytes(wide))
                with collecting():
                    one_line(lambda held=hostile: inputs.colours(held, "x"), name)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 1.2e9, "64 million pixels, the most that are decoded, take 0.8 GB"


def hostile_record(draw: random.Random, depth: int = 0) -> object:
    plain = [None, True, -1, 0, 2**70, 1e308, -0.0, "", "a", ESCAPE, "x" * 300, "1e999", float("nan"), float("-inf")]
    if depth > 3 or draw.random() < 0.4:
        return draw.choice(plain)
    if draw.random() < 0.5:
        return [hostile_record(draw, depth + 1) for _ in range(draw.randrange(4))]
    names = ["request", "prompts", "steps", "model", "loras", "index", "sha256", "threads", ESCAPE, "nodes", ""]
    return {draw.choice(names): hostile_record(draw, depth + 1) for _ in range(draw.randrange(5))}


def records() -> Iterator[str]:
    draw = random.Random(SEED)
    for _ in range(60):
        yield json.dumps(hostile_record(draw))
    yield from ("[" * 700 + "]" * 700, '{"a":' * 700 + "1" + "}" * 700, "[" * 100_000, '{"a": NaN, "b": [Infinity]}')
    yield from ('{"a": ' + "9" * 6000 + "}", '"' + ESCAPE, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"))


@pytest.mark.parametrize("form", ["text", "json"])
def test_inspect_shows_any_record_safely(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    path = tmp_path / "x.png"
    for record in records():
        for name in (picture.OURS, "workflow", "parameters", "invokeai_metadata"):
            path.write_bytes(picture.encode(Image.new("L", (2, 2)), {name: record}))
            assert main.run(["inspect", str(path), "--format", form]) == 0, record[:80]
            out, err = capsys.readouterr()
            assert err == ""
            assert printable(out) == out
            if form == "json":
                json.loads(out, parse_constant=refuse)


def test_replay_refuses_any_such_record_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.png"
    for record in records():
        path.write_bytes(picture.encode(Image.new("L", (2, 2)), {picture.OURS: record}))
        assert main.run(["replay", str(path)]) != 0
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), record[:80]
        assert err.startswith("error: ")
        assert printable(err) == err


@pytest.mark.parametrize("told", [True, False])
def test_inspect_decodes_no_pixel(told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = [b"parameters\0a tree\nSteps: 20, Sampler: Euler, Seed: 5"] if told else []
    path = tmp_path / "x.png"
    path.write_bytes(big_bilevel(30_000, *text))
    start = time.process_time()
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main.run(["inspect", str(path)]) == 0
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    out = capsys.readouterr().out
    assert "PNG picture, 30000 x 30000" in out
    assert ("Sampler: Euler" in out) is told, "a text behind the pixels is found, too"
    assert time.process_time() - start < 2
    assert used < 5e6
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 30e6


def test_replay_decodes_only_what_is_no_bomb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.png"
    request = {"prompts": ["a tree"], "steps": 1}
    record = {"request": request, "index": 0, "sha256": "0" * 64, "threads": 1}
    path.write_bytes(big_bilevel(30_000, b"scorefield\0" + json.dumps(record).encode()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main.run(["replay", str(path)]) == 1
    assert capsys.readouterr().err == f"error: {path} has 30000 x 30000 pixels; at most 67108864 are allowed\n"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 100e6


def test_a_picture_cut_off_behind_its_header_is_said_to_be_damaged(tmp_path: Path) -> None:
    whole = seeds()["png"]
    (tmp_path / "x.png").write_bytes(whole[:-20])
    with pytest.raises(PictureError, match="is damaged: it is cut off"):
        picture.read_history(tmp_path / "x.png")


@pytest.mark.parametrize("form", ["text", "json"])
def test_names_and_metadata_of_weights_are_shown_safely(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"a{ESCAPE}\nfiles\n  forged"
    save_file({name: np.zeros(2, np.float32)}, tmp_path / "x.safetensors", metadata={ESCAPE: f'{{"{name[0]}": NaN}}'})
    assert main.run(["inspect", str(tmp_path / "x.safetensors"), "--format", form]) == 0
    out = capsys.readouterr().out
    assert printable(out) == out
    assert not any(line.startswith(("files", "  forged")) for line in out.splitlines())
    if form == "json":
        assert list(json.loads(out)["tensors"]) == [name]
