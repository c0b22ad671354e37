import sqlite3
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from scorefield.errors import MachineError
from scorefield.queue.entry import Entry, Made, State, Wish
from scorefield.queue.ledger import Ledger
from scorefield.request import InputImage, parse


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "jobs.sqlite")


def entry(job: str = "job_a", total: int = 1, prompt: str = "a cat", **wish: object) -> Entry:
    request = parse({"prompts": prompt, "count": total, "seed": 2**64 - 1, "negative_prompt": "fog"})
    return Entry(id=job, wish=Wish(**wish), request=request, frames=1, total=total, created=time.time(), notes=("odd",))


def made(index: int = 0) -> Made:
    return Made(index=index, file=f"{index}.png", sha256="0" * 64, prompt="a cat", seed=2**64 - 1, steps=3)


def test_a_job_comes_back_as_it_was_added(ledger: Ledger) -> None:
    added = entry(client="x", label="mine", keep_steps=True)
    ledger.add(added)
    assert ledger.get("job_a") == added
    assert ledger.labelled("mine") == added
    assert ledger.get("job_b") is None


def test_a_job_is_done_with_its_last_output_and_takes_none_twice(ledger: Ledger) -> None:
    ledger.add(entry(total=2))
    assert not ledger.add_output("job_a", made(1))
    assert not ledger.add_output("job_a", made(1))
    assert ledger.add_output("job_a", made(0))
    assert not ledger.add_output("job_a", made(2)), "it is over"
    found = ledger.get("job_a")
    assert found is not None
    assert (found.state, found.done) == (State.DONE, 2)
    assert ledger.outputs("job_a") == [made(0), made(1)]


def test_a_job_ends_once(ledger: Ledger) -> None:
    ledger.add(entry())
    assert ledger.start("job_a")
    assert not ledger.start("job_a")
    assert ledger.end("job_a", State.FAILED, "no memory")
    assert not ledger.end("job_a", State.CANCELLED)
    assert not ledger.add_output("job_a", made())
    found = ledger.get("job_a")
    assert found is not None
    assert (found.state, found.error) == (State.FAILED, "no memory")


def test_what_was_running_is_queued_again_after_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "jobs.sqlite")
    for job in ("job_a", "job_b", "job_c"):
        first.add(entry(job, total=2))
    first.start("job_a")
    first.add_output("job_a", made(1))
    first.end("job_b", State.CANCELLED)
    second = Ledger(tmp_path / "jobs.sqlite")  # the first is not closed, as after kill -9
    assert [(one.id, one.state, one.done) for one in second.requeue()] == [
        ("job_a", "queued", 1),
        ("job_c", "queued", 0),
    ]


def test_jobs_are_listed_newest_first_by_words_and_pages(ledger: Ledger) -> None:
    for job, prompt in (("1", "a Red car"), ("2", "a cat"), ("3", "a car"), ("4", "100% car_")):
        ledger.add(entry(job, prompt=prompt))
    assert [one.id for one in ledger.listed(limit=2)] == ["4", "3"]
    assert [one.id for one in ledger.listed(limit=9, before="3")] == ["2", "1"]
    assert [one.id for one in ledger.listed(limit=9, words="red CAR")] == ["1"]
    assert [one.id for one in ledger.listed(limit=9, words="FOG")] == ["4", "3", "2", "1"]
    assert [one.id for one in ledger.listed(limit=9, words="0%")] == ["4"], "signs of a pattern are plain text"
    assert ledger.listed(limit=9, words="'; DROP TABLE jobs; --") == []


def test_old_jobs_expire_and_unfinished_ones_do_not(ledger: Ledger) -> None:
    for job in "1234":
        ledger.add(entry(job))
    for job in "124":
        ledger.end(job, State.DONE)
    assert ledger.expired(keep=2, before=0) == ["1", "2"]
    assert ledger.expired(keep=9, before=time.time() + 1) == ["1", "2", "4"]
    assert ledger.forget("1")
    assert not ledger.forget("1")
    assert not ledger.forget("3"), "it is not over"


def test_the_pictures_that_jobs_were_given_are_known(ledger: Ledger) -> None:
    plain = entry("1")
    ledger.add(plain)
    request = plain.request.model_copy(
        update={"image": InputImage(sha256="a" * 64), "mask": InputImage(sha256="b" * 64)}
    )
    ledger.add(replace(plain, id="2", request=request))
    assert ledger.inputs_in_use() == {"a" * 64, "b" * 64}


def test_a_file_of_another_program_or_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_text("a text " * 1000)
    with pytest.raises(MachineError, match="cannot be used as a ledger"):
        Ledger(path)
    assert path.read_text() == "a text " * 1000
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(MachineError, match="another version"):
        Ledger(newer)


def test_a_write_that_the_disk_refuses_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "jobs.sqlite")
    ledger.add(entry())
    ledger._db.execute("PRAGMA max_page_count = 1")  # as a full disk
    large = [entry(f"more {k}", prompt="a cat " * 1500) for k in range(9)]
    with pytest.raises(MachineError, match="cannot be written"):
        deque(map(ledger.add, large))
    ledger._db.execute("PRAGMA max_page_count = 100000")
    ledger.add(entry("later"))
    assert ledger.get("later") is not None
