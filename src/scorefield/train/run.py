"""A whole run in a folder: train, save, log, evaluate, resume, finish."""

import fcntl
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Generic

import torch
from torch import Tensor
from tqdm import tqdm

from scorefield.train import loop, state
from scorefield.train.errors import TrainError
from scorefield.train.log import Log
from scorefield.train.recipe import Figures, M, Progress, Recipe

STATE, STABLE = "state.safetensors", "state-stable.safetensors"


class InterruptedRunError(TrainError):
    """A signal ended the run after a step; its state is saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


@dataclass(kw_only=True)
class Stop:
    """Whether a signal asked the run to end."""

    number: int = 0


@contextmanager
def _signals() -> Iterator[Stop]:
    """Hold SIGINT and SIGTERM back until the step has ended; a second signal acts at once."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.number = number
        for one, handler in before.items():
            signal.signal(one, handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; TrainError if another one trains in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainError(f"another run is training in {folder}; choose another --output") from None
        yield


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a recipe is run: where, on what, and how often it saves."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)  # of the recipe, as text, for the state's header
    steps: int | None = None  # instead of the recipe's
    device: torch.device
    dtype: torch.dtype  # of the forward: float32 or bfloat16
    save_every: float = 600.0  # seconds
    log_every: int = 50  # steps
    resume: bool | None = None  # True: even if settings differ; None: only if they are the same; False: start again
    say: Callable[[str], None] = print


@dataclass(kw_only=True)
class Session(Generic[M]):
    """One recipe at work in one folder."""

    recipe: Recipe[M]
    options: Options
    training: loop.Training[M]
    rates: list[float]
    figures: Figures = field(default_factory=dict)
    evaluated: int = -1  # the step that the figures are of

    @property
    def steps(self) -> int:
        """How many steps the run shall have."""
        return self.options.steps or self.recipe.steps

    def save(self, name: str) -> None:
        """Write the state to a file of the run's folder."""
        state.save(self.options.folder / name, self.training, self.recipe.name, dict(self.options.settings), self.steps)

    def evaluate(self) -> Figures:
        """The recipe's figures of the averaged module; none if it has no evaluation."""
        if self.recipe.evaluate is not None:
            with torch.no_grad(), loop.seeded(self.recipe.seed, 0, self.options.device):
                self.figures = dict(self.recipe.evaluate(self.training.ema))
        self.evaluated = self.training.step
        return self.figures

    def finish(self) -> Path:
        """Write the weights that ship."""
        run = self.training
        if self.evaluated != run.step:
            self.evaluate()
        progress = Progress(run.step, run.samples, run.seconds, self.options.folder, self.figures)
        with torch.no_grad():
            return self.recipe.finish(run.ema, progress)


def _check(header: state.Header, recipe: Recipe[M], options: Options, path: Path) -> None:
    if header.recipe != recipe.name:
        raise TrainError(f"{path} is of recipe {header.recipe!r}, not {recipe.name!r}; choose another --output")
    now, then = options.settings, header.settings
    names = sorted((now.keys() | then.keys()) - {"steps"})  # a run may be made longer
    changed = [f"{name} {then.get(name)} -> {now.get(name)}" for name in names if now.get(name) != then.get(name)]
    if changed and options.resume is None:
        raise TrainError(
            f"{path} has other settings ({', '.join(changed)}): --resume goes on with the new, --fresh starts again"
        )


def _newest(recipe: Recipe[M], options: Options, steps: int) -> tuple[Path, state.Header, Mapping[str, Tensor]]:
    """The state to resume from: the last one, or if the run is to be longer and was decaying, that before the decay."""
    path = options.folder / STATE
    header, tensors = state.read(path)
    if steps <= header.steps or header.step <= recipe.schedule.stable_until(header.steps):
        return path, header, tensors
    if not (options.folder / STABLE).exists():
        raise TrainError(f"{path} is past the start of its decay and {STABLE} is missing: use --steps {header.steps}")
    path = options.folder / STABLE
    return path, *state.read(path)


def open_session(recipe: Recipe[M], options: Options) -> Session[M]:
    """Begin a run, or resume it from its newest state."""
    training = loop.start(recipe, options.device)
    rates = [float(group["lr"]) for group in training.optimizer.param_groups]
    session = Session(recipe=recipe, options=options, training=training, rates=rates)
    if (options.folder / STATE).exists():
        path, header, tensors = _newest(recipe, options, session.steps)
        _check(header, recipe, options, path)
        state.fill(training, header, tensors, path)
        if path.name == STABLE:
            options.say(f"longer than before: goes on from step {header.step}, where the decay began")
    return session


def execute(recipe: Recipe[M], options: Options) -> Path:
    """Train to the end and write the weights that ship; InterruptedRunError on Ctrl-C, with the state saved."""
    with _alone(options.folder):
        if options.resume is False:
            for name in (STATE, STABLE):
                (options.folder / name).unlink(missing_ok=True)
        session = open_session(recipe, options)
        _train(session)
        return session.finish()


def _train(session: Session[M]) -> None:
    recipe, options, run = session.recipe, session.options, session.training
    log = Log(options.folder / "log.jsonl", run.step, options.log_every)
    stable = recipe.schedule.stable_until(session.steps)
    clock = saved = time.monotonic()
    bar = tqdm(total=session.steps, initial=run.step, unit="step", disable=None, dynamic_ncols=True)
    steps = loop.train(recipe, run, session.rates, options.device, options.dtype, session.steps)
    with _signals() as stop, bar, closing(steps):
        for step in steps:
            now = time.monotonic()
            run.seconds, clock = run.seconds + now - clock, now
            bar.update()
            stopped = bool(stop.number)
            last = step.step == session.steps
            if means := log.add(step, force=last or stopped):
                bar.set_postfix(loss=f"{means['loss']:.4f}", pictures_s=f"{means['per_second']:.0f}")
            if step.step == stable:
                session.save(STABLE)
            if last or stopped or now - saved >= options.save_every:
                session.save(STATE)
                saved = time.monotonic()
            if stopped:
                message = f"stopped after step {step.step}; the same command goes on from there"
                raise InterruptedRunError(stop.number, message)
            if recipe.evaluate is not None and (last or step.step % recipe.evaluate_every == 0):
                log.write({"step": step.step, "evaluate": session.evaluate()})


def finish(recipe: Recipe[M], options: Options) -> Path:
    """Write the weights that ship from the newest state, without training."""
    path = options.folder / STATE
    if not path.exists():
        raise TrainError(f"{path} does not exist; train first")
    header, _ = state.read(path)
    return open_session(recipe, replace(options, steps=header.steps, resume=True)).finish()
