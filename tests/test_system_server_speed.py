"""What the server costs beside the pipeline, on an idle machine.

pytest -s -m slow tests/test_system_server_speed.py
"""

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.servers import Served, wait

import scorefield as sf

pytestmark = [pytest.mark.system, pytest.mark.slow]
PROMPT, STEPS, PAIRS = "a tree in the desert", 25, 12


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Served(tmp_path_factory.mktemp("speed") / "server") as served, served.client() as client:
        yield client


def over_http(client: httpx.Client, previews: str = "none") -> float:
    """Seconds from asking for a picture to having its file, following its events."""
    start = time.perf_counter()
    job = client.post("/jobs", json={"prompts": PROMPT, "steps": STEPS, "seed": 0}).json()["id"]
    with client.stream("GET", f"/jobs/{job}/events?previews={previews}") as answer:
        for _ in answer.iter_lines():
            pass
    assert client.get(f"/jobs/{job}/outputs/0").content
    return time.perf_counter() - start


def compared(client: httpx.Client, folder: Path, previews: str) -> tuple[float, float]:
    """The median seconds of the pipeline with its file written, and of the server, in turn."""
    pipe = sf.load()
    pairs = []
    for k in range(PAIRS + 1):
        start = time.perf_counter()
        pipe(PROMPT, steps=STEPS, seed=0).save(folder / f"{k}.png")
        pairs.append((time.perf_counter() - start, over_http(client, previews)))
    ours, theirs = (statistics.median(one[1:]) for one in zip(*pairs, strict=True))  # the first are warm-up
    print(f"pipeline {ours:.3f} s, over HTTP with previews {previews} {theirs:.3f} s")  # noqa: T201
    return ours, theirs


def test_a_picture_over_http_costs_five_percent_and_30_ms_at_most(client: httpx.Client, tmp_path: Path) -> None:
    ours, theirs = compared(client, tmp_path, "none")
    assert theirs <= 1.05 * ours + 0.03


def test_a_preview_at_every_step_costs_a_fifth_at_most(client: httpx.Client, tmp_path: Path) -> None:
    ours, theirs = compared(client, tmp_path, "all")
    assert theirs <= 1.2 * ours


def test_a_preview_comes_within_one_step_of_its_step(client: httpx.Client) -> None:
    job = client.post("/jobs", json={"prompts": PROMPT, "steps": STEPS, "seed": 0}).json()["id"]
    steps: dict[int, float] = {}
    previews: dict[int, float] = {}
    with client.stream("GET", f"/jobs/{job}/events?previews=all") as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: ") and name in ("step", "preview"):
                seen = steps if name == "step" else previews
                seen[json.loads(line.removeprefix("data: "))["i"]] = time.perf_counter()
    wait(client, job)
    gaps = [b - a for a, b in zip(list(steps.values())[:-1], list(steps.values())[1:], strict=True)]
    late = [previews[i] - steps[i] for i in previews]
    print(f"a step {statistics.median(gaps):.3f} s, a preview {statistics.median(late):.3f} s later")  # noqa: T201
    assert len(previews) >= STEPS - 2
    assert statistics.median(late) < statistics.median(gaps)


def test_batches_beside_one_by_one(tmp_path: Path) -> None:
    figures = {}
    for together in (1, 8):
        with Served(tmp_path / str(together), "--together", str(together)) as served, served.client() as client:
            wait(client, client.post("/jobs", json={"prompts": PROMPT, "steps": STEPS}).json()["id"])
            start = time.perf_counter()
            bodies = [{"prompts": PROMPT, "steps": STEPS, "seed": seed} for seed in range(16)]
            jobs = [client.post("/jobs", json=body).json()["id"] for body in bodies]
            for job in jobs:
                wait(client, job)
            figures[together] = time.perf_counter() - start
    print(f"16 pictures: one by one {figures[1]:.1f} s, in batches of 8 {figures[8]:.1f} s")  # noqa: T201
    assert figures[8] < 1.3 * figures[1]
