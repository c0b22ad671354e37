"""A load of many clients on a server, and what must be true of it afterwards.

python -m tests.soak --minutes 15 --clients 32    # with a server of its own
"""

import argparse
import asyncio
import base64
import io
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from tests.servers import Served

import scorefield as sf
from scorefield.sample import samplers

PROMPTS = ("a cat", "a red car", "a tree in the desert", "two penguins in the snow")
SEEDS, STEPS = range(3), (1, 2)
A1111_SCHEDULE = samplers.find_a1111("Euler", None)[1]  # what that program's Euler takes
FASTER_THAN = 0.1  # s: p95 of what only asks the queue


@dataclass(frozen=True)
class Order:
    """A picture that a client wants."""

    prompt: str
    seed: int
    steps: int
    schedule: str | None = None  # None for the model's


@dataclass
class Load:
    """What clients did and saw."""

    address: str
    until: float
    accepted: dict[str, Order] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)  # of answers about the queue
    counted: Counter[str] = field(default_factory=Counter)


@cache
def expected(order: Order) -> np.ndarray:
    """The picture that the pipeline draws for an order."""
    image = sf.load()(order.prompt, seed=order.seed, steps=order.steps, schedule=order.schedule).image
    return np.asarray(image).astype(int)


def is_picture(data: bytes, order: Order) -> bool:
    """Whether a file has the picture of an order, up to the rounding of a batch."""
    drawn = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return bool(np.abs(drawn - expected(order)).max() <= 1)


Visit = Callable[[httpx.AsyncClient, Load, random.Random], Awaitable[None]]


async def wait_for_it(client: httpx.AsyncClient, load: Load, chance: random.Random) -> None:
    """Submit, poll until it is over, fetch the picture, and look at it."""
    job, order = await _submit(client, load, chance)
    while True:
        found = await _asked(client, load, f"/jobs/{job}")
        if found["state"] not in ("queued", "running"):
            break
        await asyncio.sleep(0.2)
    assert found["state"] == "done", found
    data = (await client.get(found["outputs"][0]["url"])).content
    assert is_picture(data, order), order
    load.counted["drawn"] += 1


async def follow_it(client: httpx.AsyncClient, load: Load, chance: random.Random) -> None:
    """Submit and follow the events, with previews; half of the time go away in the middle."""
    job, _ = await _submit(client, load, chance)
    stays, seen = chance.random() < 0.5, 0
    async with client.stream("GET", f"/jobs/{job}/events?previews=all") as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            seen += line.startswith("event:")
            if not stays and seen > 2:
                load.counted["left"] += 1
                return
    load.counted["followed"] += 1


async def cancel_it(client: httpx.AsyncClient, load: Load, chance: random.Random) -> None:
    """Submit and cancel a moment later."""
    job, _ = await _submit(client, load, chance)
    await asyncio.sleep(chance.random() * 0.5)
    found = (await client.post(f"/jobs/{job}/cancel")).json()
    if found["state"] == "cancelled":
        load.cancelled.add(job)
        load.counted["cancelled"] += 1
    else:
        assert found["state"] == "done", found


async def look_around(client: httpx.AsyncClient, load: Load, chance: random.Random) -> None:
    """List the jobs, search them, ask for metrics."""
    await _asked(client, load, f"/jobs?limit={chance.choice((1, 20))}")
    await _asked(client, load, "/jobs?words=cat&limit=5")
    assert (await client.get("/metrics")).status_code == 200
    load.counted["looked"] += 1


async def ask_openai(client: httpx.AsyncClient, load: Load, chance: random.Random) -> None:
    """Ask OpenAI's interface for a picture, in a stream with a preview half of the time, and look at it."""
    order = _order(chance)
    body = {"prompt": order.prompt, "seed": order.seed, "steps": order.steps, "response_format": "b64_json"}
    if chance.random() < 0.5:
        answer = await client.post("/v1/images/generations", json=body)
        assert answer.status_code == 200, answer.text
        assert is_picture(base64.b64decode(answer.json()["data"][0]["b64_json"]), order), order
        load.counted["openai"] += 1
        return
    async with client.stream("POST", "/v1/images/generations", json=body | {"stream": True}) as answer:
        lines = [line.removeprefix("data: ") async for line in answer.aiter_lines() if line.startswith("data: {")]
    assert is_picture(base64.b64decode(json.loads(lines[-1])["b64_json"]), order), order
    load.counted["openai streams"] += 1


async def ask_a1111(client: httpx.AsyncClient, load: Load, chance: random.Random) -> None:
    """Ask AUTOMATIC1111's interface for a picture, look at it, and ask for the progress."""
    order = replace(_order(chance), schedule=A1111_SCHEDULE)
    body = {"prompt": order.prompt, "seed": order.seed, "steps": order.steps}
    answer = await client.post("/sdapi/v1/txt2img", json=body)
    assert answer.status_code == 200, answer.text
    assert is_picture(base64.b64decode(answer.json()["images"][0]), order), order
    await _asked(client, load, "/sdapi/v1/progress?skip_current_image=true")
    load.counted["a1111"] += 1


VISITS: list[Visit] = [wait_for_it, follow_it, cancel_it, look_around, ask_openai, ask_a1111]


async def press(load: Load, clients: int, seed: int = 0) -> None:
    """Let so many clients come again and again until the time is over."""
    async with asyncio.TaskGroup() as group:
        for k in range(clients):
            group.create_task(_client(load, random.Random(seed * 1000 + k), k))


async def _client(load: Load, chance: random.Random, number: int) -> None:
    headers = {"x-scorefield-client": f"client {number}"}
    async with httpx.AsyncClient(base_url=load.address, timeout=120, trust_env=False, headers=headers) as client:
        while time.monotonic() < load.until:
            await chance.choice(VISITS)(client, load, chance)


def _order(chance: random.Random) -> Order:
    return Order(chance.choice(PROMPTS), chance.choice(SEEDS), chance.choice(STEPS))


async def _submit(client: httpx.AsyncClient, load: Load, chance: random.Random) -> tuple[str, Order]:
    order = _order(chance)
    start = time.perf_counter()
    answer = await client.post("/jobs", json={"prompts": order.prompt, "seed": order.seed, "steps": order.steps})
    load.seconds.append(time.perf_counter() - start)
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    assert job not in load.accepted
    load.accepted[job] = order
    return job, order


async def _asked(client: httpx.AsyncClient, load: Load, path: str) -> dict[str, object]:
    start = time.perf_counter()
    answer = await client.get(path)
    load.seconds.append(time.perf_counter() - start)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def settle(client: httpx.Client, load: Load, seconds: float = 300) -> None:
    """Wait until nothing is unfinished; then every accepted job has ended once, with its picture."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(
        job["state"] in ("queued", "running") for job in client.get("/jobs?limit=200").json()["jobs"]
    ):
        time.sleep(0.5)
    asked = sum(load.counted[name] for name in ("openai", "openai streams", "a1111"))
    assert _count(client) == len(load.accepted) + asked, "a job was lost or doubled"
    for job, order in load.accepted.items():
        found = client.get(f"/jobs/{job}").json()
        wanted = "cancelled" if job in load.cancelled else "done"
        assert found["state"] == wanted, (job, found["state"], found["error"])
        if found["state"] == "done":
            (output,) = found["outputs"]
            assert is_picture(client.get(output["url"]).content, order), order


def _count(client: httpx.Client) -> int:
    """The number of all jobs."""
    count, before = 0, None
    while True:
        page = client.get("/jobs", params={"limit": 200} | ({"before": before} if before else {})).json()
        count, before = count + len(page["jobs"]), page["next"]
        if before is None:
            return count


def resident(process: int) -> int:
    """The memory of a process, in bytes."""
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS"))


async def _watch(process: int, load: Load, sizes: list[tuple[float, int]]) -> None:
    start = time.monotonic()
    while time.monotonic() < load.until:
        sizes.append((time.monotonic() - start, resident(process)))
        await asyncio.sleep(1)


def soak(served: Served, seconds: float, clients: int = 32) -> dict[str, object]:
    """Press a server for so long; return figures. AssertionError for anything lost, doubled or wrong."""
    for prompt in PROMPTS:
        for seed in SEEDS:
            for steps in STEPS:
                expected(Order(prompt, seed, steps))
                expected(Order(prompt, seed, steps, A1111_SCHEDULE))
    load = Load(served.address, time.monotonic() + seconds)
    sizes: list[tuple[float, int]] = []

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(press(load, clients))
            group.create_task(_watch(served.process.pid, load, sizes))

    asyncio.run(run())
    with served.client() as client:
        settle(client, load)
    third = [size for at, size in sizes if seconds / 3 <= at < seconds / 3 + seconds / 6]
    last = [size for at, size in sizes if at >= seconds * 5 / 6]
    return {
        "accepted": len(load.accepted),
        **load.counted,
        "p95_ms": round(1000 * statistics.quantiles(load.seconds, n=20)[-1], 1),
        "median_ms": round(1000 * statistics.median(load.seconds), 1),
        "growth": round(statistics.median(last) / statistics.median(third) - 1, 4),
        "resident_mb": round(sizes[-1][1] / 1e6),
    }


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--clients", type=int, default=32)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Served(Path(folder) / "server", "--rate", "100000/minute") as served:
        print(json.dumps(soak(served, asked.minutes * 60, asked.clients)))  # noqa: T201


if __name__ == "__main__":
    main()
