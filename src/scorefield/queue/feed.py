"""The feed: what happens to a job, from the thread that draws to whoever follows, who may be slow or gone."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from PIL import Image

from scorefield.queue.entry import Made, State

_MOST_UNREAD = 64  # events; of a slow reader the oldest steps and previews are dropped
_ASKED_FOR = 5.0  # seconds for which a poll keeps previews coming

Wants = Callable[[int, int], bool]  # whether a preview of step i of n is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A step was made."""

    job: str
    progress: float  # of the whole job, 0 to 1
    i: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The estimate of a clean output at a step; of a film its first frame."""

    job: str
    index: int
    i: int
    n: int
    image: Image.Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An output is finished and its file written."""

    job: str
    made: Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The job is in another state; if that is final, nothing follows."""

    job: str
    state: State
    error: str | None = None


Told = Moved | Preview | Ready | Changed


class Follower:
    """The events of one job for one reader, in order. Iterate once, in an event loop.

    It ends after a final state, or when the feed is closed.
    """

    def __init__(self, job: str, wants: Wants | None) -> None:
        self.job, self.wants = job, wants
        self._loop = asyncio.get_running_loop()
        self._events: deque[Told] = deque()
        self._closed = False
        self._lock, self._ready = threading.Lock(), asyncio.Event()

    def put(self, event: Told) -> None:
        """Add an event, from any thread."""
        with self._lock:
            if len(self._events) >= _MOST_UNREAD:
                stale = next((one for one in self._events if isinstance(one, Moved | Preview)), None)
                if stale is not None:
                    self._events.remove(stale)
            self._events.append(event)
        self._wake()

    def close(self) -> None:
        """End after the events so far, from any thread."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)

    async def __aiter__(self) -> AsyncIterator[Told]:
        while True:
            await self._ready.wait()
            with self._lock:
                events = [*self._events]
                self._events.clear()
                self._ready.clear()
            for event in events:
                yield event
                if isinstance(event, Changed) and event.state.is_final:
                    return
            if self._closed:
                return


class Feed:
    """Followers by job, and the last step of each job that is being drawn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: dict[str, list[Follower]] = {}
        self._latest: dict[str, Moved] = {}
        self._seen: dict[str, Preview] = {}
        self._polled: dict[str, float] = {}
        self._closed = False

    def close(self) -> None:
        """End all followers, and those to come."""
        with self._lock:
            self._closed = True
            followers = [one for many in self._followers.values() for one in many]
        for one in followers:
            one.close()

    def follow(self, job: str, wants: Wants | None = None) -> Follower:
        """Follow a job from now on; `leave` in the end."""
        follower = Follower(job, wants)
        with self._lock:
            self._followers.setdefault(job, []).append(follower)
            closed = self._closed
        if closed:
            follower.close()
        return follower

    def leave(self, follower: Follower) -> None:
        """Stop following."""
        with self._lock:
            others = [one for one in self._followers.get(follower.job, []) if one is not follower]
            if others:
                self._followers[follower.job] = others
            else:
                self._followers.pop(follower.job, None)

    def tell(self, event: Told) -> None:
        """Tell the followers of a job."""
        with self._lock:
            match event:
                case Moved():
                    self._latest[event.job] = event
                case Preview():
                    self._seen[event.job] = event
                case Changed(state=state) if state.is_final:
                    for kept in (self._latest, self._seen, self._polled):
                        kept.pop(event.job, None)
                case _:
                    pass
            followers = list(self._followers.get(event.job, ()))
        for one in followers:
            one.put(event)

    def wants_preview(self, job: str, i: int, n: int) -> bool:
        """Whether somebody wants to see step i of n."""
        with self._lock:
            if time.monotonic() - self._polled.get(job, -_ASKED_FOR) < _ASKED_FOR:
                return True
            return any(one.wants is not None and one.wants(i, n) for one in self._followers.get(job, ()))

    def latest(self, job: str) -> Moved | None:
        """The last step of a job that is being drawn."""
        with self._lock:
            return self._latest.get(job)

    def poll_preview(self, job: str) -> Preview | None:
        """The last preview, for a reader that asks again and again: the next steps make previews, too."""
        with self._lock:
            self._polled[job] = time.monotonic()
            return self._seen.get(job)
