"""The ledger: every job and its outputs, in one SQLite file that no crash of this process can damage."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from scorefield.errors import MachineError
from scorefield.queue.entry import Entry, Made, State, Wish
from scorefield.request import Request, parse

_VERSION = 1
_SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL, label TEXT NOT NULL,
    wish TEXT NOT NULL, request TEXT NOT NULL, words TEXT NOT NULL, frames INTEGER NOT NULL, total INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, finished REAL, error TEXT,
    notes TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_label ON jobs (label);
CREATE TABLE outputs (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL, file TEXT NOT NULL,
    sha256 TEXT NOT NULL, prompt TEXT NOT NULL, seed TEXT NOT NULL, steps INTEGER NOT NULL, PRIMARY KEY (job, number)
);
"""
_UNFINISHED = (State.QUEUED, State.RUNNING)


class Ledger:
    """The jobs of one folder. Threads may share it; what a method has written survives `kill -9`."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger at `path`; MachineError for a file of another program or version."""
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise MachineError(f"{path} is of another version of scorefield; choose another folder")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        except sqlite3.Error as error:
            self._db.close()
            raise MachineError(f"{path} cannot be used as a ledger of jobs: {error}") from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def add(self, entry: Entry) -> None:
        """Accept a job."""
        request = entry.request.model_dump_json()
        words = "\n".join([*entry.request.prompts, entry.request.negative_prompt])
        values = (
            entry.id, entry.state, entry.wish.label, json.dumps(asdict(entry.wish)), request, words, entry.frames,
            entry.total, entry.created, json.dumps(entry.notes),
        )  # fmt: skip
        with self._writing() as db:
            db.execute(
                "INSERT INTO jobs (id, state, label, wish, request, words, frames, total, created, notes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def start(self, job: str) -> bool:
        """Note that a queued job is being drawn; False if it was not queued."""
        with self._writing() as db:
            started = db.execute(
                "UPDATE jobs SET state = ?, started = coalesce(started, ?) WHERE id = ? AND state = ?",
                (State.RUNNING, time.time(), job, State.QUEUED),
            )
            return started.rowcount == 1

    def add_output(self, job: str, made: Made) -> bool:
        """Note a finished output; True if the job is done with it. A job that is over takes no more."""
        with self._writing() as db:
            values = (
                job,
                made.index,
                made.file,
                made.sha256,
                made.prompt,
                str(made.seed),
                made.steps,
                job,
                *_UNFINISHED,
            )
            added = db.execute(
                "INSERT OR IGNORE INTO outputs SELECT ?, ?, ?, ?, ?, ?, ?"
                " WHERE EXISTS (SELECT 1 FROM jobs WHERE id = ? AND state IN (?, ?))",
                values,
            ).rowcount
            if not added:
                return False
            db.execute("UPDATE jobs SET done = done + 1 WHERE id = ?", (job,))
            over = db.execute(
                "UPDATE jobs SET state = ?, finished = ? WHERE id = ? AND done = total", (State.DONE, time.time(), job)
            )
            return over.rowcount == 1

    def end(self, job: str, state: State, error: str | None = None) -> bool:
        """End a job that is not over yet; False if it is."""
        with self._writing() as db:
            values = (state, error, time.time(), job, *_UNFINISHED)
            ended = db.execute(
                "UPDATE jobs SET state = ?, error = ?, finished = ? WHERE id = ? AND state IN (?, ?)", values
            )
            return ended.rowcount == 1

    def requeue(self) -> list[Entry]:
        """Queue again what was running when the last process ended; return all unfinished jobs, in order."""
        with self._writing() as db:
            db.execute("UPDATE jobs SET state = ? WHERE state = ?", (State.QUEUED, State.RUNNING))
        return self._entries("WHERE state = ? ORDER BY number", (State.QUEUED,))

    def get(self, job: str) -> Entry | None:
        """The job with that id."""
        return next(iter(self._entries("WHERE id = ?", (job,))), None)

    def labelled(self, label: str) -> Entry | None:
        """The newest job that its client has given that name."""
        return next(iter(self._entries("WHERE label = ? ORDER BY number DESC LIMIT 1", (label,))), None)

    def listed(
        self, *, limit: int, before: str | None = None, words: str = "", faces: Sequence[str] = (), films: bool = False,
        oldest_first: bool = False,
    ) -> list[Entry]:  # fmt: skip
        """The newest jobs first, or the oldest, from the one after `before`.

        Those whose prompts contain `words`, in any case, and that came through one of `faces`, if any are named.
        """
        beyond, order = (">", "ASC") if oldest_first else ("<", "DESC")
        tests, values = ["instr(lower(words), lower(?)) > 0"], [words]
        if before is not None:
            tests.append(f"number {beyond} (SELECT number FROM jobs WHERE id = ?)")
            values.append(before)
        if faces:
            tests.append(f"json_extract(wish, '$.face') IN ({', '.join('?' * len(faces))})")
            values += faces
        if films:
            tests.append("frames > 1")
        return self._entries(f"WHERE {' AND '.join(tests)} ORDER BY number {order} LIMIT ?", (*values, limit))

    def outputs(self, job: str) -> list[Made]:
        """The finished outputs of a job, by number."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM outputs WHERE job = ? ORDER BY number", (job,)).fetchall()
        return [
            Made(
                index=row["number"], file=row["file"], sha256=row["sha256"], prompt=row["prompt"],
                seed=int(row["seed"]), steps=row["steps"],
            )
            for row in rows
        ]  # fmt: skip

    def forget(self, job: str) -> bool:
        """Remove a job that is over, with its outputs; False if there is none."""
        with self._writing() as db:
            gone = db.execute("DELETE FROM jobs WHERE id = ? AND state NOT IN (?, ?)", (job, *_UNFINISHED))
            return gone.rowcount == 1

    def expired(self, *, keep: int, before: float) -> list[str]:
        """Jobs that are over and ended `before`, or are not among the newest `keep`."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id FROM jobs WHERE state NOT IN (?, ?) AND (finished < ? OR number NOT IN"
                " (SELECT number FROM jobs ORDER BY number DESC LIMIT ?))",
                (*_UNFINISHED, before, keep),
            ).fetchall()
        return [row["id"] for row in rows]

    def inputs_in_use(self) -> set[str]:
        """The sha256 of all pictures that some job was given."""
        with self._lock:
            rows = self._db.execute('SELECT request FROM jobs WHERE instr(request, \'"sha256":"\') > 0').fetchall()
        requests = [json.loads(row["request"]) for row in rows]
        given = (request[name] for request in requests for name in PICTURES)
        return {one["sha256"] for one in given if one is not None}

    def _entries(self, where: str, values: Sequence[object]) -> list[Entry]:
        with self._lock:
            rows = self._db.execute(f"SELECT * FROM jobs {where}", values).fetchall()
        return [_entry(row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; MachineError if the disk does not take it."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise MachineError(f"the ledger of jobs cannot be written: {error}") from None
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


PICTURES = ("image", "last_image", "mask", "image_prompt")  # fields of a request that hold one


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        id=row["id"],
        wish=Wish(**json.loads(row["wish"])),
        request=_request(row["request"]),
        frames=row["frames"],
        total=row["total"],
        state=State(row["state"]),
        done=row["done"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        error=row["error"],
        notes=tuple(json.loads(row["notes"])),
    )


def _request(text: str) -> Request:
    return parse(json.loads(text))
