"""Servers for tests: in this process without a socket, and as a process of their own with one."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
from starlette.testclient import TestClient
from tests import strangers_film, toy

from scorefield.cli.main import main
from scorefield.model.family import Family
from scorefield.model.spec import ModelSpec
from scorefield.queue.job_folder import JobFolder
from scorefield.queue.jobs import Jobs, Limits
from scorefield.queue.shelf import Shelf
from scorefield.request import ModelChoice
from scorefield.server.app import build
from scorefield.server.settings import Settings
from scorefield.zoo import registry


class FilmFamily(strangers_film.Family):
    """The stranger that draws films, listed as if it shipped."""

    def specs(self) -> Sequence[ModelSpec]:
        return (replace(toy.TOY, name="toy-film", defaults=replace(toy.TOY.defaults, frames=9, fps=8.0)),)


def open_jobs(path: Path, limits: Limits | None = None, folders: tuple[Path, ...] = ()) -> Jobs:
    """The jobs of a folder, without a worker."""
    return Jobs(JobFolder(path), Shelf(folders, ModelChoice(), None), limits or Limits())


@contextmanager
def serving(path: Path, settings: Settings | None = None, folders: tuple[Path, ...] = ()) -> Iterator[TestClient]:
    """A client of an application that draws; its answers come when they are complete."""
    settings = settings or Settings()
    app = build(open_jobs(path, settings.limits, folders), settings)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@contextmanager
def serving_films(path: Path, *others: Family[Any]) -> Iterator[TestClient]:
    """The same, with the model `toy-film` besides those of `others`, or else the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FAMILIES", [*(others or registry.FAMILIES), FilmFamily()])
        with serving(path) as client:
            yield client


def wait(client: httpx.Client, job: str, state: str = "done", seconds: float = 60.0) -> dict[str, Any]:
    """The job once it is in that state, or over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found: dict[str, Any] = client.get(f"/jobs/{job}").json()
        if found["state"] in (state, "done", "failed", "cancelled"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{job} is not {state} after {seconds} s")


def read_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events as names and data."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


class Served:
    """`scorefield serve` as a process, with its address; its log is `folder`.log.

    The program "tests.servers" is scorefield with the model `toy-film`.
    """

    def __init__(self, folder: Path, *options: str, seconds: float = 60.0, program: str = "scorefield") -> None:
        command = [sys.executable, "-m", program, "serve", "--no-browser", "--port", "0", "-o", str(folder)]
        self.log = folder.with_suffix(".log")
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("a") as log:
            self.process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            said = self.log.read_bytes()[before:].decode()
            if match := re.search(r"scorefield serves (http\S+) .*\n", said):
                self.address = match[1]
                return
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(self.log.read_text())

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, trust_env=False, **options)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


if __name__ == "__main__":
    registry.register(FilmFamily())
    main()
