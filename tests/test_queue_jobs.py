import errno
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from docs.notebooks.tiny_stable import tiny_stable
from PIL import Image
from tests.servers import open_jobs

import scorefield as sf
from scorefield.api import Picture
from scorefield.errors import MachineError, RequestError
from scorefield.files.picture import read_history
from scorefield.notes import UnknownSizeWarning
from scorefield.queue.entry import Entry, State, Wish
from scorefield.queue.job_folder import JobFolder
from scorefield.queue.jobs import Jobs, Limits, QueueFullError
from scorefield.queue.kept_steps import step_name
from scorefield.queue.shelf import Shelf, UnknownModelError
from scorefield.queue.worker import Worker
from scorefield.request import ModelChoice, parse

STEPS = 3


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    opened = open_jobs(tmp_path / "server", Limits(together=4))
    yield opened
    opened.close()
    opened.folder.close()


def submit(jobs: Jobs, prompt: str = "a cat", client: str = "x", wish: Wish | None = None, **options: object) -> Entry:
    request = parse({"prompts": prompt, "steps": STEPS, **options})
    return jobs.submit(request, wish or Wish(client=client))


def draw(jobs: Jobs, batches: int = 99) -> None:
    """Draw what waits, in this thread."""
    worker = Worker(jobs)
    for _ in range(batches):
        if not jobs._turns.waiting:
            return
        worker.draw(jobs.take())


def pixels(jobs: Jobs, job: str, index: int = 0) -> np.ndarray:
    made = next(one for one in jobs.outputs(job) if one.index == index)
    return np.asarray(Image.open(jobs.path(job, made.file)).convert("RGB")).astype(int)


def alone(prompt: str, seed: int, **options: object) -> np.ndarray:
    return np.asarray(sf.load()(prompt, seed=seed, steps=STEPS, **options).image).astype(int)


def state(jobs: Jobs, job: str) -> State:
    entry = jobs.entry(job)
    assert entry is not None
    return entry.state


def test_a_job_of_one_client_is_the_picture_that_the_pipeline_draws(jobs: Jobs) -> None:
    entry = submit(jobs, "a red car", seed=7)
    draw(jobs)
    assert state(jobs, entry.id) is State.DONE
    assert (pixels(jobs, entry.id) == alone("a red car", 7)).all()


def test_jobs_that_fit_share_a_batch_and_each_keeps_its_picture_and_its_record(jobs: Jobs) -> None:
    one = submit(jobs, "a red car", "x", seed=7)
    two = submit(jobs, "a cat", "y", seed=2**64 - 1, count=2)
    other = submit(jobs, "a cat", "z", seed=7, cfg_scale=2)
    assert len(jobs._turns.waiting) == 3
    draw(jobs, batches=1)
    assert (state(jobs, one.id), state(jobs, two.id)) == (State.DONE, State.DONE)
    assert state(jobs, other.id) is State.QUEUED
    for job, index, prompt, seed in ((one, 0, "a red car", 7), (two, 0, "a cat", 2**64 - 1), (two, 1, "a cat", 0)):
        difference = np.abs(pixels(jobs, job.id, index) - alone(prompt, seed))
        assert difference.max() <= 1, "a batch may round otherwise"
        history = read_history(jobs.path(job.id, f"{index}.png")).ours
        assert history is not None
        assert (history["prompt"], history["seed"], history["index"]) == (prompt, seed, index)
        request = history["request"]
        assert (request["prompts"], request["count"]) == ([prompt], job.total)


def test_noise_of_a_batch_is_not_shared_with_other_jobs(jobs: Jobs) -> None:
    one = submit(jobs, seed=5, count=2, noise="batch")
    submit(jobs, seed=9, noise="batch", client="y")
    draw(jobs, batches=1)
    assert state(jobs, one.id) is State.DONE
    expected = sf.load()("a cat", seed=5, count=2, noise="batch", steps=STEPS).images
    for k in range(2):
        assert (pixels(jobs, one.id, k) == np.asarray(expected[k])).all()


def test_a_seed_that_was_left_open_is_decided_once(jobs: Jobs) -> None:
    entry = submit(jobs)
    assert entry.request.seed is not None
    stored = jobs.entry(entry.id)
    assert stored is not None
    assert stored.request.seed == entry.request.seed


def test_a_job_from_a_picture_survives_a_restart(tmp_path: Path) -> None:
    image = sf.load()("a cat", seed=1, steps=STEPS).image
    data = io.BytesIO()
    image.save(data, "PNG")
    first = open_jobs(tmp_path / "server")
    entry = submit(first, "a dog", image=data.getvalue(), strength=0.7, seed=4)
    assert entry.request.image is not None
    assert entry.request.image.data is None, "a queue of pictures does not fill the memory"
    first.folder.close()
    second = open_jobs(tmp_path / "server")
    draw(second)
    expected = sf.load()("a dog", image=data.getvalue(), strength=0.7, seed=4, steps=STEPS).image
    assert (pixels(second, entry.id) == np.asarray(expected)).all()
    second.folder.close()


def test_finished_outputs_are_not_drawn_again_after_a_restart(tmp_path: Path) -> None:
    first = open_jobs(tmp_path / "server", Limits(together=1))
    entry = submit(first, count=3, seed=3)
    draw(first, batches=1)
    path = first.path(entry.id, "0.png")
    written = path.stat().st_mtime_ns
    first.folder.close()
    second = open_jobs(tmp_path / "server", Limits(together=1))
    draw(second)
    assert state(second, entry.id) is State.DONE
    assert [made.index for made in second.outputs(entry.id)] == [0, 1, 2]
    assert path.stat().st_mtime_ns == written
    second.folder.close()


def test_a_cancelled_job_stops_at_its_next_step_and_writes_nothing(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = submit(jobs)
    steps = []
    told = jobs.feed.tell

    def tell(event: object) -> None:
        steps.append(event)
        if len(steps) == 3:
            assert jobs.cancel(entry.id)
        told(event)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs.feed, "tell", tell)
    draw(jobs)
    assert state(jobs, entry.id) is State.CANCELLED
    assert len([one for one in steps if type(one).__name__ == "Moved"]) == 2
    assert not jobs.folder.job(entry.id).exists()
    assert not jobs.cancel(entry.id)


def test_the_rest_of_a_batch_is_drawn_when_one_of_its_jobs_is_cancelled(jobs: Jobs) -> None:
    gone, stays = submit(jobs, seed=1), submit(jobs, seed=2, client="y")
    units = jobs.take()
    jobs.cancel(gone.id)
    Worker(jobs).draw(units)
    assert state(jobs, stays.id) is State.DONE
    assert jobs.outputs(gone.id) == []


def test_a_job_at_fault_fails_alone(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = submit(jobs, "a dog", seed=1), submit(jobs, "a cat", seed=2, client="y")
    write = Picture.write

    def failing(picture: Picture, *names: object, **options: object) -> Path:
        if picture.prompt == "a dog":
            raise MachineError("this one cannot be")
        return write(picture, *names, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Picture, "write", failing)
    draw(jobs)
    entry = jobs.entry(bad.id)
    assert entry is not None
    assert (entry.state, entry.error) == (State.FAILED, "this one cannot be")
    assert state(jobs, good.id) is State.DONE


def test_a_bug_in_a_job_is_logged_with_its_traceback_and_the_next_job_is_drawn(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = submit(jobs, "a dog", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("scorefield.queue.worker.together", lambda rows, system: 1 / 0)
        draw(jobs)
    good = submit(jobs, seed=2)
    draw(jobs)
    assert state(jobs, good.id) is State.DONE
    entry = jobs.entry(bad.id)
    assert entry is not None
    assert entry.error == "internal error (ZeroDivisionError); the server's log has the details"
    assert "division by zero" in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the server cannot write its files: No space left on device",
        ),
        (MemoryError(), "out of memory; ask for fewer or smaller outputs"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory; ask for fewer or"),
    ],
)
def test_a_limit_of_the_machine_is_one_line_without_a_path(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def failing(*_: object, **__: object) -> Path:
        raise error

    entry = submit(jobs)
    with monkeypatch.context() as patch:
        patch.setattr(Picture, "write", failing)
        draw(jobs)
    failed = jobs.entry(entry.id)
    assert failed is not None
    assert failed.error is not None
    assert failed.error.startswith(line)
    assert not list(jobs.folder.path.rglob("*.part"))
    again = submit(jobs)
    draw(jobs)
    assert state(jobs, again.id) is State.DONE


def test_steps_are_kept_if_that_was_asked_for(jobs: Jobs) -> None:
    entry = submit(jobs, seed=3, wish=Wish(keep_steps=True))
    draw(jobs)
    (made,) = jobs.outputs(entry.id)
    assert made.steps == STEPS + 1
    last = Image.open(jobs.path(entry.id, step_name(0, STEPS, "clean"))).convert("RGB")
    assert np.abs(np.asarray(last).astype(int) - pixels(jobs, entry.id)).mean() < 4, "WebP is lossy"
    first = Image.open(jobs.path(entry.id, step_name(0, 0, "noisy"))).convert("RGB")
    assert np.abs(np.asarray(first).astype(int) - pixels(jobs, entry.id)).mean() > 20


def test_the_queue_is_bounded_and_its_limits_are_said(jobs: Jobs) -> None:
    jobs.limits = Limits(waiting=2, outputs=4, steps=10, pixels=128 * 128)
    for options, line in (
        ({"count": 5}, "5 outputs are too many for this server: at most 4"),
        ({"steps": 11}, "11 steps are too many"),
        ({"size": 256}, "256x256 is too large for this server: at most 16384 pixels"),
    ):
        with pytest.raises(RequestError, match=line):
            submit(jobs, **options)
    submit(jobs)
    submit(jobs)
    with pytest.raises(QueueFullError, match="2 jobs are waiting"):
        submit(jobs)


def test_an_unknown_model_is_refused_by_name_and_a_path_is_not_a_name(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").write_bytes(b"x")
    for name in ("nope", str(tmp_path / "secret.safetensors"), "../secret", "owner/name", "hf:owner/name"):
        with pytest.raises(UnknownModelError, match=r"no model .* here; there are scenes"):
            submit(jobs, model=name)


def test_a_place_and_a_time_are_told(jobs: Jobs) -> None:
    first, second = submit(jobs, seed=1), submit(jobs, seed=2, cfg_scale=2)
    standing = jobs.standing(second.id)
    assert standing is not None
    assert (standing.position, standing.seconds) == (1, None), "nothing was drawn yet"
    start = time.perf_counter()
    draw(jobs, batches=1)
    took = time.perf_counter() - start
    standing = jobs.standing(second.id)
    assert standing is not None
    assert standing.position == 0
    assert standing.seconds is not None
    assert 0.2 * took < standing.seconds < 5 * took
    assert jobs.standing(first.id) is None


def test_a_job_of_many_outputs_is_one_job_ahead(tmp_path: Path) -> None:
    jobs = open_jobs(tmp_path / "server", Limits(together=1))
    first, second = submit(jobs, count=3), submit(jobs, seed=2)
    jobs.take()
    standing = [jobs.standing(job.id) for job in (first, second)]
    assert [one.position for one in standing if one is not None] == [0, 1]
    jobs.close()
    jobs.folder.close()


def test_two_servers_cannot_share_a_folder(jobs: Jobs) -> None:
    with pytest.raises(MachineError, match="another server uses"):
        open_jobs(jobs.folder.path)


def test_old_jobs_are_deleted_with_their_files_and_inputs(tmp_path: Path) -> None:
    jobs = open_jobs(tmp_path / "server", Limits(keep=1))
    data = io.BytesIO()
    Image.new("RGB", (128, 128)).save(data, "PNG")
    first = submit(jobs, image=data.getvalue())
    draw(jobs)
    second = submit(jobs)
    draw(jobs)
    assert jobs.tidy() == 1
    assert jobs.entry(first.id) is None
    assert not jobs.folder.job(first.id).exists()
    assert not any((jobs.folder.path / "inputs").iterdir())
    assert jobs.path(second.id, "0.png").exists()
    jobs.folder.close()


def test_models_of_the_operators_folders_are_named_by_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_stable(tmp_path / "models" / "below" / "my-model")
    jobs = open_jobs(tmp_path / "server", folders=(tmp_path / "models",))
    assert jobs.shelf.names() == ["scenes", "my-model"]
    entry = submit(jobs, model="my-model", seed=1, size=64)
    draw(jobs)
    assert state(jobs, entry.id) is State.DONE, jobs.entry(entry.id)
    text = json.dumps(read_history(jobs.path(entry.id, "0.png")).ours)
    assert "my-model" in text
    assert str(tmp_path) not in text, "a path of the server"
    assert jobs.shelf.loaded()["my-model"] > 0
    monkeypatch.setenv("SCOREFIELD_MODELS", str(tmp_path / "models"))
    with pytest.warns(UnknownSizeWarning):
        expected = sf.load("my-model")("a cat", seed=1, steps=STEPS, size=64).image
    assert (np.asarray(expected) == pixels(jobs, entry.id)).all()
    jobs.folder.close()


def test_models_are_unloaded_within_a_budget_the_one_not_used_for_longest_first(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny_stable(tmp_path / "models" / name)
    folder = JobFolder(tmp_path / "server")
    shelf = Shelf((tmp_path / "models",), ModelChoice(), None)
    shelf.system("one")
    small = shelf.loaded()["one"]
    shelf.system("scenes")
    budget = small + shelf.loaded()["scenes"] + small // 2
    shelf = Shelf((tmp_path / "models",), ModelChoice(), budget)
    for name, loaded in (("one", ["one"]), ("scenes", ["one", "scenes"]), ("one", ["scenes", "one"])):
        shelf.system(name)
        assert list(shelf.loaded()) == loaded
    shelf.system("two")
    assert list(shelf.loaded()) == ["one", "two"], "scenes was not used for longest"
    folder.close()
