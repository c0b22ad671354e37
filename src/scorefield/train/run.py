"""A whole run in a folder: train, save, log, evaluate, resume, finish."""

import fcntl
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Generic

import torch
from tqdm import tqdm

from scorefield.errors import MissingError, RequestError
from scorefield.train import loop
from scorefield.train.log import Log
from scorefield.train.recipe import Figures, M, Progress, Recipe, shown
from scorefield.train.state import STABLE, STATE, Checkpoints, FileCheckpoints, Header, is_there


class InterruptedRunError(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP ended the run; the message says where it will resume."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


@dataclass(kw_only=True)
class Stop:
    """Whether to hold a signal back: `held`, it is only noted; otherwise it ends the run immediately."""

    held: bool = False
    number: int = 0  # of the noted signal


@contextmanager
def _signals(folder: Path) -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGHUP into an InterruptedRunError, so that no temporary file is left.

    A second signal is never held back. Signals that are ignored stay so, as under nohup. Outside the main thread this
    does nothing.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.held and not stop.number:
            stop.number = number
            return
        place = "resumes from the last saved state" if (folder / STATE).exists() else "starts again"
        raise InterruptedRunError(number, f"stopped; the same command {place}")

    numbers = (
        (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    )
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process; RequestError if another one trains in it."""
    folder.mkdir(parents=True, exist_ok=True)
    is_there(folder / "lock")
    with (folder / "lock").open("a") as file:  # append mode does not change an existing file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"another run is training in {folder}; choose another --output") from None
        yield


@dataclass(frozen=True, kw_only=True)
class Options:
    """The folder and the device of a run, and how often it saves."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)  # the recipe's, as text, for the state's header
    steps: int | None = None  # in place of the recipe's
    device: torch.device
    dtype: torch.dtype  # of the forward pass: float32 or bfloat16
    compiled: bool = False  # whether torch.compile makes the training steps' code
    save_every: float = 600.0  # seconds
    log_every: int = 50  # steps
    resume: bool | None = None  # True: even if settings differ; None: only if they are the same; False: start again
    say: Callable[[str], None] = print


@dataclass(kw_only=True)
class Session(Generic[M]):
    """The run of one recipe in one folder."""

    recipe: Recipe[M]
    options: Options
    training: loop.Training[M]
    checkpoints: Checkpoints
    rates: list[float]
    figures: Figures = field(default_factory=dict)
    evaluated: int = -1  # the step at which the figures were measured

    @property
    def steps(self) -> int:
        """The planned length of the run."""
        return self.options.steps or self.recipe.steps

    def save(self, name: str) -> None:
        """Save the state under a name."""
        self.checkpoints.save(name, self.training, self.recipe.name, self.options.settings, self.steps)

    def evaluate(self) -> Figures:
        """Measure the recipe's figures of the averaged module; none if it has no evaluation."""
        run = self.training
        if self.recipe.evaluate is not None:
            seeded = loop.seeded(self.recipe.seed, 0, self.options.device)
            with torch.no_grad(), run.average.applied(), seeded, torch.compiler.set_stance("force_eager"):
                self.figures = dict(self.recipe.evaluate(run.module))
        self.evaluated = run.step
        return self.figures

    def finish(self) -> Path:
        """Write the final weights."""
        run = self.training
        self.options.say(f"step {run.step}: measuring and writing the averaged weights")
        if self.evaluated != run.step:
            self.evaluate()
        progress = Progress(run.step, run.samples, run.seconds, self.options.folder, self.figures)
        with torch.no_grad(), run.average.applied(), torch.compiler.set_stance("force_eager"):
            return self.recipe.finish(run.module, progress)


def _check(header: Header, recipe: Recipe[M], options: Options, path: Path) -> None:
    if header.recipe != recipe.name:
        raise RequestError(f"{path} belongs to recipe {header.recipe!r}, not {recipe.name!r}; choose another --output")
    now, then = options.settings, header.settings
    names = sorted((now.keys() | then.keys()) - {"steps"})  # a run may be extended
    changed = [(name, then.get(name), now.get(name)) for name in names if now.get(name) != then.get(name)]
    if changed and options.resume is None:
        listed = ", ".join(" ".join([shown(name), shown(old), "->", shown(new)]) for name, old, new in changed)
        raise RequestError(f"{path} has other settings ({listed}): --resume keeps the new ones, --fresh starts again")


def _newest(recipe: Recipe[M], checkpoints: Checkpoints, last: Header, steps: int, path: Path) -> tuple[str, Header]:
    """The state to resume from: the last, or the one before the decay if the run is extended after its start."""
    if steps <= last.steps or last.step <= recipe.schedule.stable_until(last.steps):
        return STATE, last
    stable = checkpoints.header(STABLE)
    if stable is None:
        raise RequestError(f"{path} is past the start of its decay, and {STABLE} is missing: use --steps {last.steps}")
    return STABLE, stable


def open_session(recipe: Recipe[M], options: Options) -> Session[M]:
    """Begin a run, or resume it from its newest state."""
    checkpoints = FileCheckpoints(options.folder, fresh=options.resume is False)
    last = checkpoints.header(STATE)
    training = loop.start(recipe, options.device)
    if options.compiled:
        training.module.compile()
    rates = [float(group["lr"]) for group in training.optimizer.param_groups]
    session = Session(recipe=recipe, options=options, training=training, checkpoints=checkpoints, rates=rates)
    if last is not None:
        name, header = _newest(recipe, checkpoints, last, session.steps, options.folder / STATE)
        _check(header, recipe, options, options.folder / name)
        checkpoints.load(name, training)
        if name == STABLE:
            options.say(f"extended: resumes from step {header.step}, before the decay")
    return session


def execute(recipe: Recipe[M], options: Options) -> Path:
    """Train to the end and write the final weights; InterruptedRunError on Ctrl-C, with the state saved."""
    with _signals(options.folder) as stop, _locked(options.folder):
        session = open_session(recipe, options)
        with closing(session.checkpoints):
            _train(session, stop)
        return session.finish()


def _train(session: Session[M], stop: Stop) -> None:
    recipe, options, run = session.recipe, session.options, session.training
    log = Log(options.folder / "log.jsonl", run.step, options.log_every)
    stable = recipe.schedule.stable_until(session.steps)
    clock = saved = time.monotonic()
    quiet = None if sys.stderr else True  # None: no bar unless stderr is a terminal
    bar = tqdm(total=session.steps, initial=run.step, unit="step", disable=quiet, dynamic_ncols=True)
    steps = loop.train(recipe, run, session.rates, options.device, options.dtype, session.steps)
    stop.held = True
    with bar, closing(steps):
        for step in steps:
            now = time.monotonic()
            run.seconds, clock = run.seconds + now - clock, now
            bar.update()
            stopped = bool(stop.number)
            last = step.step == session.steps
            if means := log.add(step, force=last or stopped):
                bar.set_postfix(loss=f"{means['loss']:.4f}", pictures_s=f"{means['per_second']:.0f}")
            if last or stopped or step.step == stable or now - saved >= options.save_every:
                session.save(STATE)
                log.keep()
                saved = time.monotonic()
            if step.step == stable:
                session.save(STABLE)
            if stopped:
                message = f"stopped after step {step.step}; the same command resumes from there"
                raise InterruptedRunError(stop.number, message)
            if recipe.evaluate is not None and (last or step.step % recipe.evaluate_every == 0):
                bar.set_description("evaluating")
                log.write({"step": step.step, "evaluate": session.evaluate()})
                bar.set_description()
    stop.held = False
    if stop.number:  # during the last evaluation
        raise InterruptedRunError(stop.number, "stopped; the same command writes the final weights")


def finish(recipe: Recipe[M], options: Options) -> Path:
    """Write the final weights from the newest state, without training."""
    header = FileCheckpoints(options.folder).header(STATE)
    if header is None:
        raise MissingError(f"{options.folder / STATE} does not exist; train first")
    with _signals(options.folder):
        return open_session(recipe, replace(options, steps=header.steps, resume=True)).finish()
