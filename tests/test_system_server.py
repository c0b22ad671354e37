"""The server as a process of its own, with a socket: kill -9, many clients, odd clients, its description.

`make system` runs the short forms, `pytest -m slow tests/test_system_server.py` the long ones.
"""

import asyncio
import io
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import soak
from tests.servers import Served, wait

import scorefield as sf

pytestmark = pytest.mark.system


def kill_and_restart(folder: Path, times: int, seed: int = 0) -> None:
    """Submit jobs, kill the server at random moments, and see every job end once with its pictures."""
    chance = random.Random(seed)
    orders: dict[str, tuple[str, int]] = {}
    for _ in range(times):
        served = Served(folder)
        with served.client() as client:
            for _ in range(3):
                prompt, first = chance.choice(soak.PROMPTS), chance.randrange(1000)
                body = {"prompts": prompt, "seed": first, "steps": 2, "count": 2}
                answer = client.post("/jobs", json=body)
                assert answer.status_code == 202
                orders[answer.json()["id"]] = (prompt, first)
            time.sleep(chance.random() * 2)
        served.kill()
    with Served(folder) as served, served.client() as client:
        for job, (prompt, first) in orders.items():
            done = wait(client, job, seconds=240)
            assert done["state"] == "done", done
            assert [one["index"] for one in done["outputs"]] == [0, 1]
            for one in done["outputs"]:
                drawn = np.asarray(Image.open(io.BytesIO(client.get(one["url"]).content)).convert("RGB"))
                expected = sf.load()(prompt, seed=first + one["index"], steps=2).image
                assert np.abs(drawn.astype(int) - np.asarray(expected)).max() <= 1
    with sqlite3.connect(folder / "jobs.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (len(orders),)
        assert db.execute("SELECT count(*) FROM outputs").fetchone() == (2 * len(orders),)


def test_no_job_is_lost_or_doubled_when_the_server_is_killed(tmp_path: Path) -> None:
    kill_and_restart(tmp_path / "server", times=3)


@pytest.mark.slow
def test_no_job_is_lost_or_doubled_when_the_server_is_killed_twenty_times(tmp_path: Path) -> None:
    kill_and_restart(tmp_path / "server", times=20, seed=1)


@pytest.mark.slow
def test_many_clients_lose_nothing_for_a_minute(tmp_path: Path) -> None:
    with Served(tmp_path / "server", "--rate", "100000/minute") as served:
        found = soak.soak(served, seconds=60)
    print(found)  # noqa: T201
    assert found["drawn"]
    assert found["cancelled"]
    assert float(str(found["growth"])) < 0.1


@pytest.mark.slow
def test_many_clients_lose_nothing_for_a_quarter_of_an_hour(tmp_path: Path) -> None:
    with Served(tmp_path / "server", "--rate", "100000/minute") as served:
        found = soak.soak(served, seconds=900)
    print(found)  # noqa: T201
    assert float(str(found["growth"])) < 0.1
    assert float(str(found["p95_ms"])) < 1000 * soak.FASTER_THAN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_in_the_middle_of_a_job_which_is_finished_later(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Served(tmp_path / "server") as served, served.client() as client:
        job = client.post("/jobs", json={"prompts": "a cat", "steps": 100, "seed": 1}).json()["id"]
        wait(client, job, "running")
        with client.stream("GET", f"/jobs/{job}/events"):  # an open stream does not keep it from stopping
            served.process.send_signal(number)
            assert served.process.wait(30) in (0, 128 + number, -number)
    assert "Traceback" not in served.log.read_text()
    with Served(tmp_path / "server") as again, again.client() as client:
        assert wait(client, job)["state"] == "done"


def test_a_second_server_on_one_folder_or_port_says_so_in_one_line(tmp_path: Path) -> None:
    with Served(tmp_path / "server") as served:
        port = served.address.rpartition(":")[2]
        for options, line in (
            (["-o", str(tmp_path / "server"), "--port", "0"], "another server uses"),
            (["-o", str(tmp_path / "other"), "--port", port], f"cannot listen on 127.0.0.1:{port}"),
        ):
            command = [sys.executable, "-m", "scorefield", "serve", "--no-browser", *options]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 1
            assert line in done.stderr
            assert "Traceback" not in done.stderr


def test_ten_thousand_requests_over_256_connections_are_answered(tmp_path: Path) -> None:
    async def ask(host: str, port: int, count: int) -> int:
        reader, writer = await asyncio.open_connection(host, port)
        answered = 0
        for _ in range(count):
            writer.write(f"GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            answered += head.startswith(b"HTTP/1.1 200 ")
        writer.close()
        return answered

    async def run(address: str) -> int:
        host, port = address.removeprefix("http://").split(":")
        return sum(await asyncio.gather(*(ask(host, int(port), 40) for _ in range(256))))

    with Served(tmp_path / "server") as served:
        assert asyncio.run(run(served.address)) == 256 * 40
        with served.client() as client:
            job = client.post("/jobs", json={"prompts": "a cat", "steps": 1}).json()["id"]
            assert wait(client, job)["state"] == "done"


def test_clients_that_never_read_or_never_send_do_not_stop_the_others(tmp_path: Path) -> None:
    with Served(tmp_path / "server") as served, served.client() as client:
        host, port = served.address.removeprefix("http://").split(":")
        job = client.post("/jobs", json={"prompts": "a cat", "steps": 60}).json()["id"]
        idle = [socket.create_connection((host, int(port))) for _ in range(20)]
        for one in idle[:10]:
            one.sendall(f"GET /jobs/{job}/events?previews=all HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        for one in idle[10:]:
            one.sendall(f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{".encode())
        assert wait(client, job)["state"] == "done"
        start = time.perf_counter()
        assert client.get("/jobs").status_code == 200
        assert time.perf_counter() - start < 2
        for one in idle:
            one.close()


@pytest.mark.slow
def test_the_description_is_true_for_what_schemathesis_sends(tmp_path: Path) -> None:
    with Served(tmp_path / "server", "--most-steps", "2", "--most-side", "128", "--most-outputs", "2",
                "--rate", "1000000/minute") as served:  # fmt: skip
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{served.address}/openapi.json",
            "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--max-examples", "8",
            "--seed", "1", "--no-color", "--suppress-health-check", "all",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
