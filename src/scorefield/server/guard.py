"""The guard: who may ask, from which site, how often, and how much. It wraps the application and reads no body."""

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from limits import parse as parse_rate
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from scorefield.server.answers import error_body
from scorefield.server.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
App = Callable[[Message, Receive, Send], Any]

COOKIE = "scorefield_key"
_OPEN = ("/", "/health/live", "/health/ready", "/session")  # without a key: nothing of a job can be seen there
_OPEN_FOLDERS = ("/assets/",)
_FREE = ("/progress", "/interrupt", "/skip", "/cancel")  # endings of paths whose POSTs ask for no work
_DRAINED, _DRAINED_SECONDS = 1 << 20, 1.0  # bytes and seconds of a body that is refused
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class _Refused(Exception):
    """A request that is answered here."""

    def __init__(self, status: int, kind: str, line: str, **headers: str) -> None:
        self.status, self.kind, self.line, self.headers = status, kind, line, headers


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._rate = parse_rate(settings.rate)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._settings)
        answer = _Answer(send, scope["path"], body)
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            self._check_host(headers)
            self._check_origin(headers, scope)
            self._check_key(headers, scope["path"])
            self._check_rate(scope)
            body.check_length(headers)
            await self._app(scope, body.receive, answer.send)
        except _Refused as refused:
            await body.drain()
            await answer.refuse(refused)

    def _check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse names that are not ours: another site's name may be made to lead here (DNS rebinding)."""
        names, host = self._settings.names, _host(headers.get("host", ""))
        if names is not None and host not in names:
            raise _Refused(421, "host", f"this server is not {host[:80]!r}; the operator can add it with --allow-host")

    def _check_origin(self, headers: Mapping[str, str], scope: Message) -> None:
        """Refuse what another site's page sends."""
        origin, host = headers.get("origin"), headers.get("host", "")
        foreign = origin is not None and urlsplit(origin).netloc != host
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        foreign |= site in ("cross-site", "same-site") and not (mode == "navigate" and scope["method"] == "GET")
        if foreign:
            raise _Refused(403, "origin", "requests from the pages of other sites are refused")

    def _check_key(self, headers: Mapping[str, str], path: str) -> None:
        key = self._settings.api_key
        if key is None or path in _OPEN or path.startswith(_OPEN_FOLDERS):
            return
        if not any(hmac.compare_digest(one.encode(), key.encode()) for one in _keys(headers)):
            raise _Refused(
                401, "key", "give the server's API key, as a bearer token or as the password of basic authentication",
                **{"www-authenticate": 'Basic realm="scorefield"' if path.startswith("/sdapi/") else "Bearer"},
            )  # fmt: skip

    def _check_rate(self, scope: Message) -> None:
        if scope["method"] != "POST" or scope["path"].endswith(_FREE):
            return
        client = (scope.get("client") or ("",))[0]
        if not self._limiter.hit(self._rate, client):
            raise _Refused(429, "rate", f"at most {self._rate}; try again later", **{"retry-after": "10"})


class _Body:
    """The body of a request, which may neither be too long nor stall; `refused` is why it was not read to its end."""

    def __init__(self, receive: Receive, settings: Settings) -> None:
        self._receive, self._most, self._seconds = receive, settings.most_body, settings.body_seconds
        self._length, self._whole = 0, False
        self.refused: _Refused | None = None

    def check_length(self, headers: Mapping[str, str]) -> None:
        """Refuse a body that says that it is too long."""
        stated = headers.get("content-length", "0")
        if not stated.isdigit() or int(stated) > self._most:
            raise self._too_long()

    async def drain(self) -> None:
        """Read a short body to its end: some clients see no answer that comes while they send."""
        length = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_SECONDS):
                while self.refused is None and not self._whole and length <= _DRAINED:
                    message = await self._receive()
                    length += len(message.get("body", b""))
                    self._whole = not message.get("more_body", False)

    async def receive(self) -> Message:
        if self._whole:  # what follows is the client's leaving, for which one may wait long
            return await self._receive()  # type: ignore[no-any-return]
        try:
            message: Message = await asyncio.wait_for(self._receive(), self._seconds)
        except TimeoutError:
            line = f"no byte of the request came for {self._seconds:g} seconds"
            self.refused = _Refused(408, "stalled", line)
            raise self.refused from None
        self._length += len(message.get("body", b""))
        if self._length > self._most:
            self.refused = self._too_long()
            raise self.refused
        self._whole = not message.get("more_body", False)
        return message

    def _too_long(self) -> _Refused:
        return _Refused(413, "length", f"a request may have at most {self._most} bytes")


class _Answer:
    """The answer, with the headers that keep browsers from being used against this server.

    If the body was refused, the application's own answer, which calls that an error of its own, is replaced.
    """

    def __init__(self, send: Send, path: str, body: _Body) -> None:
        self._send, self._path, self._body = send, path, body
        self._begun = self._refused = False

    async def send(self, message: Message) -> None:
        if self._body.refused is not None and not self._begun:
            await self.refuse(self._body.refused)
        if not self._refused:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            present = {name.lower() for name, _ in message.get("headers", ())}
            more = [pair for pair in _HEADERS if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)

    async def refuse(self, refused: _Refused) -> None:
        """Answer with a refusal, unless an answer has begun."""
        if self._begun:
            return
        body = json.dumps(error_body(self._path, refused.status, refused.kind, refused.line)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in refused.headers.items()]
        headers.append((b"connection", b"close"))  # the rest of its body is not read
        await self._pass_on({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self._pass_on({"type": "http.response.body", "body": body})
        self._refused = True


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _keys(headers: Mapping[str, str]) -> list[str]:
    """The keys that a request gives: a bearer token, the password of basic authentication, a cookie."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    found: list[str] = []
    if kind.lower() == "bearer":
        found.append(value.strip())
    elif kind.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    return [*found, *([cookie.value] if cookie is not None else [])]
