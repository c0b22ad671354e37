import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.servers import serving, wait

from scorefield.server import ending
from scorefield.server.settings import Settings


class Hook:
    """A server that is told of jobs, and answers with the codes of a list, then with 200."""

    def __init__(self, codes: list[int]) -> None:
        self.told: list[dict[str, object]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(codes.pop(0) if codes else 200)
                self.send_header("location", f"{hook.address}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while len(self.told) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.told) == count


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_PAUSE", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_web_hook_is_told_of_the_end_and_asked_again_until_it_agrees(tmp_path: Path) -> None:
    hook = Hook([500, 302])
    with serving(tmp_path / "jobs", Settings(webhook_hosts=("127.0.0.1",))) as client:
        body = {"prompts": "a cat", "steps": 1, "webhook": f"{hook.address}/done"}
        job = client.post("/jobs", json=body).json()["id"]
        hook.wait(3)
        assert [(told["id"], told["state"]) for told in hook.told] == [(job, "done")] * 3
        assert len(hook.told[0]["outputs"]) == 1  # type: ignore[arg-type]
        time.sleep(0.2)
        assert len(hook.told) == 3
        assert 'scorefield_jobs_over_total{state="done"} 1.0' in client.get("/metrics").text


@pytest.mark.usefixtures("quick")
def test_a_web_hook_that_never_agrees_is_given_up_and_the_job_stays_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook([500] * 99)
    with serving(tmp_path / "jobs", Settings(webhook_hosts=("127.0.0.1",))) as client:
        job = client.post("/jobs", json={"prompts": "a cat", "steps": 1, "webhook": hook.address}).json()["id"]
        hook.wait(4)
        time.sleep(0.5)
        assert len(hook.told) == 4
        assert wait(client, job)["state"] == "done"
    assert "a web-hook was given up" in caplog.text
