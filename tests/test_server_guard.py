import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient
from tests.servers import open_jobs, serving

from scorefield.errors import RequestError
from scorefield.server.app import build
from scorefield.server.settings import Settings

KEY = "correct horse battery staple"
SCOPE: dict[str, Any] = {
    "type": "http", "method": "POST", "path": "/jobs", "raw_path": b"/jobs", "query_string": b"", "root_path": "",
    "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http", "server": ("localhost", 80),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("guard") / "jobs", Settings(hosts=("studio.local",))) as client:
        yield client


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("locked") / "jobs", Settings(host="0.0.0.0", api_key=KEY)) as client:
        yield client


def test_another_address_than_this_machines_demands_a_key() -> None:
    with pytest.raises(RequestError, match="lets other machines in; give an --api-key"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", api_key=KEY).names is None


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "[::1]:7860", "studio.local:80", "STUDIO.LOCAL"])
def test_requests_for_our_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/jobs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@evil.example"])
def test_requests_for_other_names_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/jobs", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
    ],
)
def test_other_sites_cannot_drive_the_server(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/jobs", headers={"host": "127.0.0.1", **headers}).status_code == status


def test_a_form_of_another_site_cannot_post_even_by_navigation(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.post("/jobs", json={"prompts": "a"}, headers=headers).status_code == 403


def test_every_answer_keeps_browsers_from_being_used_against_us(client: TestClient) -> None:
    for path in ("/jobs", "/nowhere", "/openapi.json"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": "Basic ???"},
        {"authorization": KEY},
        {"cookie": "scorefield_key=wrong"},
        basic(KEY),
        basic(f"{KEY}:"),
    ],
)
def test_without_the_key_nothing_is_told(locked: TestClient, headers: dict[str, str]) -> None:
    for path in ("/jobs", "/models", "/metrics", "/openapi.json", "/v1/models", "/sdapi/v1/options"):
        assert locked.get(path, headers=headers).status_code == 401, path
    assert locked.get("/health/live", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, basic(f"me:{KEY}")]
)
def test_the_key_opens_as_a_bearer_token_and_as_a_password(locked: TestClient, headers: dict[str, str]) -> None:
    assert locked.get("/jobs", headers=headers).status_code == 200


def test_the_page_exchanges_the_key_for_a_cookie_that_scripts_cannot_read(locked: TestClient) -> None:
    assert locked.post("/session", json={"key": "wrong"}).status_code == 400
    answer = locked.post("/session", json={"key": KEY})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert locked.get("/jobs").status_code == 200
    locked.cookies.clear()


def test_errors_have_the_shape_of_the_interface(locked: TestClient) -> None:
    assert locked.get("/v1/models").json()["error"]["type"] == "authentication_error"
    assert locked.get("/sdapi/v1/options").json()["detail"].startswith("give the server's API key")
    assert locked.get("/jobs").json()["error"]["kind"] == "key"


def test_a_client_that_asks_too_often_is_asked_to_wait(tmp_path: Path) -> None:
    with serving(tmp_path / "jobs", Settings(rate="3/minute")) as client:
        codes = [client.post("/words", json={"prompt": "a"}).status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        assert client.get("/jobs").status_code == 200, "reading is free"
        assert client.post("/sdapi/v1/interrupt").status_code == 200, "so is stopping"


def test_a_refusal_is_sent_after_a_short_body_was_read(tmp_path: Path) -> None:
    app = build(open_jobs(tmp_path / "jobs"), Settings())
    events: list[str] = []
    parts = [{"type": "http.request", "body": b"x" * 1000, "more_body": more} for more in (True, True, False)]

    async def receive() -> dict[str, Any]:
        events.append("read")
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        events.append(str(message.get("status", "body")))

    scope = SCOPE | {"app": app, "headers": [(b"host", b"evil.example")]}

    async def run() -> None:
        await app(scope, receive, send)

    anyio.run(run)
    assert events == ["read", "read", "read", "421", "body"]
    app.state.desk.jobs.folder.close()


def test_a_body_may_not_be_longer_than_allowed_whether_it_says_so_or_not(tmp_path: Path) -> None:
    with serving(tmp_path / "jobs", Settings(most_body=1000)) as client:
        long = json.dumps({"prompts": "a" * 2000}).encode()
        stated = client.post("/jobs", content=long)
        assert (stated.status_code, stated.json()["error"]["kind"]) == (413, "length")
        pieces = client.post("/jobs", content=iter([long[:500], long[500:]]))
        assert (pieces.status_code, pieces.json()["error"]["kind"]) == (413, "length")
        typed = client.post("/words", content=iter([long[:500], long[500:]]))
        assert typed.status_code == 413


def test_a_body_that_stalls_is_given_up(tmp_path: Path) -> None:
    jobs = open_jobs(tmp_path / "jobs")
    app = build(jobs, Settings(body_seconds=0.05))
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "http.request", "body": b'{"prom', "more_body": True}])

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is None:
            await anyio.sleep(10)
        return message or {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = SCOPE | {"app": app, "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")]}

    async def run() -> None:
        await app(scope, receive, send)

    anyio.run(run)
    assert sent[0]["status"] == 408
    assert b"no byte of the request came" in sent[1]["body"]
    assert len(sent) == 2
    jobs.folder.close()
