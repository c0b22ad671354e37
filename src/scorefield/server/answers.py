"""Errors as answers: the status, and the body in the shape that the clients of each interface read."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from scorefield.errors import ScorefieldError
from scorefield.files.open_picture import PictureError
from scorefield.queue.jobs import QueueFullError
from scorefield.queue.shelf import UnknownModelError

_LOG = logging.getLogger("scorefield.server")
_STATUS = {"request": 400, "unsupported": 400, "missing": 404, "damaged": 409, "machine": 503}
_OPENAI_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class NotFound(ScorefieldError):
    """A job or a file that the server does not have."""

    kind = "missing"


def error_body(path: str, status: int, kind: str, line: str, option: str | None = None) -> dict[str, object]:
    """The body of an error, in the shape of the interface that `path` belongs to."""
    if path.startswith("/v1/"):
        typed = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return {"error": {"message": line, "type": typed, "param": option, "code": kind}}
    if path.startswith(("/sdapi/", "/internal/")):
        return {"error": HTTPStatus(status).phrase, "detail": line, "body": "", "errors": line}
    return {"error": {"kind": kind, "message": line, "option": option}}


def status_of(error: ScorefieldError) -> int:
    """The status of an error."""
    if isinstance(error, QueueFullError):
        return 429
    return 400 if isinstance(error, PictureError) else _STATUS[error.kind]


def answer(path: str, error: ScorefieldError) -> JSONResponse:
    """The answer to a request that failed."""
    status, option = status_of(error), getattr(error, "option", None)
    code: str = getattr(error, "code", error.kind)
    if isinstance(error, UnknownModelError):
        code, option = "model_not_found", "model"
    headers = {"retry-after": "5"} if status in (429, 503) else None
    return JSONResponse(error_body(path, status, code, str(error), option), status, headers)


def add_handlers(app: FastAPI) -> None:
    """Turn every error into an answer."""

    @app.exception_handler(ScorefieldError)
    def scorefield_error(request: Request, error: ScorefieldError) -> JSONResponse:
        return answer(request.url.path, error)

    @app.exception_handler(OSError)
    def disk_error(request: Request, error: OSError) -> JSONResponse:
        _LOG.error("a file of the server cannot be used: %s", error)
        line = f"the server cannot use its files: {error.strerror or 'unknown reason'}"
        return JSONResponse(error_body(request.url.path, 503, "machine", line), 503)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        line = f"{name}: {first['msg']}"
        return JSONResponse(error_body(request.url.path, 422, "request", line, name), 422)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        body = error_body(request.url.path, error.status_code, "request", str(error.detail))
        headers = {"allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
        return JSONResponse(body, error.status_code, headers)

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> JSONResponse:
        _LOG.exception("a request failed by a bug", exc_info=error)
        line = f"internal error ({type(error).__name__}); the server's log has the details"
        return JSONResponse(error_body(request.url.path, 500, "bug", line), 500)


def _methods(request: Request) -> list[str]:
    """The methods of a path: the framework names those of the first route alone."""
    routes = [route for router in request.app.state.routers for route in router.routes]
    partial = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in partial if route.path == partial[0].path for method in route.methods})
