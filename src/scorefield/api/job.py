"""A job: the one loop that draws. It yields events, and closing it cancels."""

import os
import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from scorefield import __version__
from scorefield.api.resolve import Plan
from scorefield.api.result import Film, Origin, Picture
from scorefield.errors import ScorefieldError
from scorefield.files.frame_store import FrameStore
from scorefield.model.events import Batch, Event, Finished, Loading, Output, Step
from scorefield.model.system import COMPUTED, System, check_fork
from scorefield.notes import collecting, collection

_FPS = 8.0  # frames per second of a film whose model does not say


class Job:
    """The work on one plan, as an iterator of events: Loading, Note, Step, Output and Finished.

    A Loading comes before the model is read, and later before a part that is read when it is needed.

    To cancel, stop iterating or call `close`. NonFiniteError if the walk meets a NaN or an infinity.
    """

    def __init__(self, plan: Plan, system: System | None = None, *, load: Callable[[], System] | None = None) -> None:
        """A job on a loaded system, or on the one that `load` returns once the job runs."""
        self.plan = plan
        self._system, self._load = system, load
        self._events = self._run()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def close(self) -> None:
        """Cancel: nothing further is computed, and nothing half done is kept."""
        self._events.close()

    @property
    def system(self) -> System:
        """The model, once it is loaded."""
        if self._system is None:
            raise RuntimeError("the job has not begun")
        return self._system

    def look(self, stage: int, x: Tensor, frames: int = 1) -> Sequence[Image.Image]:
        """A state from a Step of that stage, as pictures, one per output; of a film, up to so many frames in a row."""
        return self.system.stages[stage].look(x, frames)

    def _run(self) -> Generator[Event, None, None]:
        plan = self.plan
        yield from plan.notes
        start = time.perf_counter()
        if self._load is not None:
            yield Loading(model=plan.request.model)
            with collecting() as notes:
                self._system = self._load()
            yield from (one for one in notes if one not in plan.notes)
        seconds = {"load": time.perf_counter() - start, "walk": 0.0, "decode": 0.0}
        origin = origin_of(plan, self.system)
        context, notes = collection()
        for number, batch in enumerate(plan.batches):
            events = self._batch(number, batch, origin, seconds)
            while True:
                try:
                    with torch.no_grad():
                        event = context.run(next, events, None)
                except ScorefieldError:
                    yield from notes
                    raise
                yield from notes
                notes.clear()
                if event is None:
                    break
                yield event
        yield Finished(seconds=seconds)

    def _batch(
        self, number: int, batch: Batch, origin: Origin, seconds: dict[str, float]
    ) -> Iterator[Loading | Step | Output]:
        """The steps of a batch through all stages, then its outputs; their time is added to `seconds`."""
        if COMPUTED.process != os.getpid():
            check_fork()
        plan = self.plan
        done, total = number * plan.steps, len(plan.batches) * plan.steps
        made: object = None
        frames: list[FrameStore | list[Image.Image]]
        frames = [FrameStore() if plan.canvas.frames > 1 else [] for _ in batch.seeds]
        start = time.perf_counter()
        for k, (stage, stage_plan) in enumerate(zip(self.system.stages, plan.stages, strict=True)):
            for step in stage.run(stage_plan, batch, made):
                if isinstance(step, Loading):
                    yield replace(step, model=plan.request.model)
                    continue
                x, progress = step.x, (done + step.i) / total
                yield Step(stage=k, batch=batch, i=step.i, n=step.n, at=step.at, x=x, x0=step.x0, progress=progress)
            done += stage_plan.steps
            middle = time.perf_counter()
            made = stage.make(stage_plan, x)
        if not isinstance(made, Iterator):
            raise TypeError(f"the last stage made {type(made).__name__} instead of frames")
        for chunk in made:
            for held, output in zip(frames, chunk.numpy(), strict=True):
                for frame in output:
                    held.append(Image.fromarray(frame))
        yield from _outputs(plan, batch, origin, frames)
        seconds["walk"] += middle - start
        seconds["decode"] += time.perf_counter() - middle


def origin_of(plan: Plan, system: System) -> Origin:
    """The origin of an output of `plan` on this machine."""
    return Origin(
        model=system.choice.model,
        sha256=system.sha256,
        threads=torch.get_num_threads(),
        levels=tuple((float(at.alpha), float(at.sigma)) for at in plan.stages[-1].levels),
        versions={"scorefield": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def _outputs(
    plan: Plan, batch: Batch, origin: Origin, frames: Sequence[FrameStore | list[Image.Image]]
) -> Iterator[Output]:
    rows = enumerate(zip(frames, batch.prompts, batch.seeds, strict=True), batch.first)
    for index, (held, prompt, seed) in rows:
        build: Callable[..., Picture | Film]
        if isinstance(held, FrameStore):
            build = partial(Film, frames=held, fps=plan.canvas.fps or _FPS)
        else:
            build = partial(Picture, image=held[0])
        yield Output(media=build(prompt=prompt, seed=seed, index=index, request=plan.request, origin=origin))
