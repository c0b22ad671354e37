"""A server that runs: its folder, its models, its socket, its log."""

import asyncio
import json
import logging
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Self

import torch
import uvicorn

from scorefield.errors import MachineError
from scorefield.queue.job_folder import JobFolder
from scorefield.queue.jobs import Jobs
from scorefield.queue.shelf import Shelf
from scorefield.request import ModelChoice
from scorefield.server.app import build
from scorefield.server.settings import Settings

_ON_A_GPU = 8  # outputs of a batch; on a CPU a batch takes as long as its outputs one by one
_GRACE = 5  # seconds for open requests when it stops
_OF_A_RECORD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class _Server(uvicorn.Server):
    """A server that ends its open streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, jobs: Jobs) -> None:
        super().__init__(config)
        self._jobs = jobs

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(self._jobs.close)
        super().handle_exit(sig, frame)


class Running:
    """A server whose socket is bound, so that its address is known and a busy port is an error before any work."""

    def __init__(self, jobs: Jobs, settings: Settings, bound: socket.socket) -> None:
        self._socket, self._settings = bound, settings
        config = uvicorn.Config(
            build(jobs, settings), log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=_GRACE, timeout_keep_alive=30, limit_concurrency=1024,
        )  # fmt: skip
        self._server = _Server(config, jobs)

    @classmethod
    def open(
        cls, output: Path, settings: Settings, machine: ModelChoice, *, folders: tuple[Path, ...] = (),
        memory: int | None = None, together: int | None = None, log: Literal["text", "json"] | str = "text",
    ) -> Self:  # fmt: skip
        """Bind the port and take the folder; MachineError if another program has one of them."""
        _start_log(log)
        if together is None:
            together = _ON_A_GPU if torch.cuda.is_available() and machine.device != "cpu" else 1
        limits = replace(settings.limits, together=together)
        bound = _bound(settings)
        try:
            jobs = Jobs(JobFolder(output), Shelf(folders, machine, memory), limits)
        except BaseException:
            bound.close()
            raise
        return cls(jobs, settings, bound)

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        host = self._settings.host
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
        return f"http://{name}:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        """Serve until a signal stops it."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise MachineError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port"
        ) from None
    return bound


class _JsonLines(logging.Formatter):
    """A log of one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _OF_A_RECORD},
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _start_log(form: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("scorefield", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO if name == "scorefield" or form == "json" else logging.WARNING)
        logger.propagate = False
