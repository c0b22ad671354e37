"""The folder of a queue: its ledger, the files of its jobs, and the pictures that they were given."""

import os
import shutil
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from scorefield import atomic
from scorefield.errors import MachineError, MissingError
from scorefield.queue.ledger import PICTURES, Ledger
from scorefield.request import InputImage, Request

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be opened again by default
    fcntl = None  # type: ignore[assignment]


class JobFolder:
    """A folder that one process uses. Every name in it is made here: none comes from a client."""

    def __init__(self, path: Path) -> None:
        """Take the folder; MachineError if another process has it, OSError if it cannot be written."""
        (path / "jobs").mkdir(parents=True, exist_ok=True)
        (path / "inputs").mkdir(exist_ok=True)
        self.path, self._lock = path, os.open(path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._lock)
                raise MachineError(
                    f"another server uses {path}; stop it, or choose another folder with --output"
                ) from None
        self.ledger = Ledger(path / "jobs.sqlite")

    def close(self) -> None:
        """Give the folder back."""
        self.ledger.close()
        os.close(self._lock)

    def job(self, job: str) -> Path:
        """The folder of a job."""
        return self.path / "jobs" / job

    def keep_inputs(self, request: Request) -> Request:
        """Write the pictures that a request was given, each under its hash; return the request without their data."""
        kept: dict[str, InputImage] = {}
        for name in PICTURES:
            given: InputImage | None = getattr(request, name)
            if given is not None and given.data is not None:
                digest = sha256(given.data).hexdigest()
                if not self._input(digest).exists():
                    atomic.write(given.data, iter([self._input(digest)]), overwrite=True)
                kept[name] = InputImage(sha256=digest)
        return request.model_copy(update=kept) if kept else request

    def with_inputs(self, request: Request) -> Request:
        """The request with the pictures that it was given; MissingError if one has gone."""
        found: dict[str, InputImage] = {}
        for name in PICTURES:
            given: InputImage | None = getattr(request, name)
            if given is not None and given.data is None and given.sha256 is not None:
                try:
                    data = self._input(given.sha256).read_bytes()
                except OSError:
                    raise MissingError(f"the {name} of this job is not in the server's folder any more") from None
                found[name] = InputImage(sha256=given.sha256, data=data)
        return request.model_copy(update=found) if found else request

    def remove(self, job: str) -> None:
        """Delete the files of a job."""
        shutil.rmtree(self.job(job), ignore_errors=True)

    def tidy(self, *, keep: int, before: float) -> int:
        """Forget jobs that ended `before` or are not among the newest `keep`; return how many."""
        gone = [job for job in self.ledger.expired(keep=keep, before=before) if self.ledger.forget(job)]
        for job in gone:
            self.remove(job)
        if gone:
            used = self.ledger.inputs_in_use()
            for path in (self.path / "inputs").iterdir():
                if path.name not in used:
                    with suppress(OSError):
                        path.unlink()
        return len(gone)

    def _input(self, digest: str) -> Path:
        return self.path / "inputs" / digest
