"""The page's files over HTTP: what is served, how it is cached, and that nothing else can be had."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.servers import serving

from scorefield.server.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("server")) as client:
        yield client


def assets(client: TestClient) -> list[str]:
    return re.findall(r'(?:src|href)="\./(assets/[^"]+)"', client.get("/").text)


def test_the_page_is_asked_for_anew_and_its_assets_are_kept(client: TestClient) -> None:
    page = client.get("/")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    kinds = set()
    for name in assets(client):
        asset = client.get(f"/{name}")
        assert (asset.status_code, "immutable" in asset.headers["cache-control"]) == (200, True)
        assert re.search(r"-[\w-]{8}\.\w+$", name), "its name holds no hash, so it must not be kept"
        kinds.add(asset.headers["content-type"].partition(";")[0])
    assert kinds == {"text/javascript", "text/css", "image/svg+xml"}


def test_the_page_runs_no_inline_script_and_fetches_nothing_from_elsewhere(client: TestClient) -> None:
    html = client.get("/").text
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.S) == [""]
    texts = [html, *(client.get(f"/{name}").text for name in assets(client))]
    hosts = {host for text in texts for host in re.findall(r"https?://([\w.-]+)", text)}
    assert hosts <= {"www.w3.org"}  # the names of namespaces


@pytest.mark.parametrize(
    "path",
    [
        "index.html",
        "../index.html",
        "..%2findex.html",
        "%2e%2e/%2e%2e/app.py",
        "....//app.py",
        "/etc/passwd",
        "%00",
        ".",
    ],
)
def test_no_other_file_can_be_had(client: TestClient, path: str) -> None:
    answer = client.get(f"/assets/{path}")
    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == "application/json"


def test_the_page_itself_needs_no_key(tmp_path: Path) -> None:
    with serving(tmp_path / "server", Settings(api_key="a key")) as client:
        assert client.get("/").status_code == 200
        assert client.get(f"/{assets(client)[0]}").status_code == 200
        assert client.get("/jobs").status_code == 401
        assert client.post("/session", json={"key": "another"}).status_code == 400
        assert client.post("/session", json={"key": "a key"}).status_code == 204
        assert client.get("/jobs").status_code == 200
