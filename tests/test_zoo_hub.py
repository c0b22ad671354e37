"""Models of the hub by name, over a real server on this machine that speaks as the hub does."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from tests.test_zoo_convert import done, single
from tests.tiny import TINY

from scorefield.api import load
from scorefield.cli.main import run
from scorefield.conversion.plan import conversion
from scorefield.errors import MachineError, MissingError, RequestError, ScorefieldError, UnsupportedError
from scorefield.zoo import hub
from scorefield.zoo.hub import HubName, chosen, fetch, named

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = HubName(repo="someone/tiny")


class Hub(ThreadingHTTPServer):
    """The hub with one repository; `asked` is every request for a file, `cut` those that break off half-way once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder, self.asked, self.cut = folder, list[tuple[str, str, str | None]](), set[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([\w-]+/[\w-]+)(/revision/(.+))?", path):
            self.told_model(found[1], found[3] or "main")
        elif path == f"/api/models/someone/tiny/tree/{COMMIT}":
            self.send(json.dumps(list(self.tree())).encode(), {"Content-Type": "application/json"})
        elif found := re.fullmatch(r"/someone/tiny/resolve/([^/]+)/(.+)", path):
            self.give(found[2], body=body)
        else:
            self.refuse(404, "RepoNotFound")

    def tree(self) -> Iterator[dict[str, object]]:
        for file in self.server.folder.rglob("*.*"):
            name = file.relative_to(self.server.folder).as_posix()
            yield {
                "type": "file",
                "path": name,
                "size": file.stat().st_size,
                "oid": hashlib.sha1(name.encode()).hexdigest(),
            }

    def told_model(self, repo: str, revision: str) -> None:
        if repo == "someone/gated":
            self.refuse(403, "GatedRepo")
        elif repo != "someone/tiny":
            self.refuse(401, "RepoNotFound")
        elif revision not in ("main", "v1", COMMIT):
            self.refuse(404, "RevisionNotFound")
        else:
            names = [file.relative_to(self.server.folder).as_posix() for file in self.server.folder.rglob("*.*")]
            told = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            self.send(json.dumps(told).encode(), {"Content-Type": "application/json"})

    def give(self, name: str, *, body: bool) -> None:
        file = self.server.folder / name
        if not file.is_file():
            return self.refuse(404, "EntryNotFound")
        data, asked = file.read_bytes(), self.headers.get("Range")
        self.server.asked.append((self.command, name, asked))
        headers = {"ETag": f'"{abs(hash(data)):x}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = body and name in self.server.cut
        self.server.cut -= {name} if cut else set()
        self.send(data[start:], headers, status=206 if start else 200, body=body, cut=cut)
        return None

    def send(
        self, data: bytes, headers: dict[str, str], status: int = 200, body: bool = True, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        self.send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: a pipeline in two variants, with much beside it that nobody needs."""
    made = tmp_path_factory.mktemp("hub")
    single(made / "x.safetensors", TINY)
    convert = conversion(made / "x.safetensors", to="diffusers", networks=TINY, prediction="eps")
    folder = done(convert, made / "folder")
    for part in ("unet", "vae", "text_encoder"):
        (plain,) = (folder / part).glob("*.safetensors")
        half = conversion(made / "x.safetensors", to="diffusers", networks=TINY, prediction="eps")
        names = {file.name: file for file in half.files}
        piece = names[f"{part}/{plain.name}"].pieces[0]
        save_file(dict(piece.tensors(torch.float16)), plain.with_suffix(".fp16.safetensors"))
        (folder / part / "flax_model.msgpack").write_bytes(b"none")
        torch.save({"a": torch.zeros(3)}, folder / part / f"{'pytorch_model' if part[0] == 't' else plain.stem}.bin")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"none")
    (folder / "v1-5-pruned.safetensors").write_bytes((made / "x.safetensors").read_bytes())
    (folder / "README.md").write_text("tiny")
    return folder


@pytest.fixture
def server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that is up, and an empty cache."""
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def relative(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}


def test_only_what_a_model_needs_is_downloaded_and_only_once(server: Hub, folder: Path) -> None:
    path, name = fetch(HubName(repo="someone/tiny", revision="v1"))
    assert str(name) == f"hf:someone/tiny@{COMMIT}"
    assert relative(path) == {
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
        "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
    }  # fmt: skip
    assert all((path / one).read_bytes() == (folder / one).read_bytes() for one in relative(path))
    server.asked.clear()
    assert fetch(name).path == path
    assert server.asked == []


def test_a_variant_and_a_single_file_are_downloaded_alone(server: Hub) -> None:
    path, _ = fetch(REPO, "fp16")
    assert {one for one in relative(path) if one.endswith("safetensors")} == {
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    }
    path, name = fetch(HubName(repo="someone/tiny", file="v1-5-pruned.safetensors"))
    assert (path.name, str(name)) == ("v1-5-pruned.safetensors", f"hf:someone/tiny@{COMMIT}:v1-5-pruned.safetensors")
    with pytest.raises(MissingError, match=r"^someone/tiny has no .* bf16; its variants: fp16, the plain one$"):
        fetch(REPO, "bf16")


def test_a_download_that_broke_off_goes_on(server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what is kept of a small file, too
    file = "unet/diffusion_pytorch_model.safetensors"
    server.cut = {file}
    path, _ = fetch(REPO)
    assert (path / file).read_bytes() == (folder / file).read_bytes()
    ranges = [asked for command, name, asked in server.asked if (command, name) == ("GET", file)]
    assert len(ranges) == 2
    assert int(str(ranges[1]).removeprefix("bytes=").partition("-")[0]) > 0


def test_without_the_hub_it_is_what_was_downloaded_before(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path, name = fetch(REPO)
    server.shutdown()
    server.server_close()
    assert fetch(REPO) == (path, name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(REPO) == (path, name)
    with pytest.raises(
        MissingError, match=r"someone/other is not a path here, is not downloaded .* HF_HUB_OFFLINE is set"
    ):
        fetch(HubName(repo="someone/other"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("someone/none", "there is no someone/none, neither as a path here nor at http"),
        ("someone/gated", "someone/gated is gated: accept its terms at http"),
        ("hf:someone/tiny@v9", "someone/tiny has no revision 'v9'"),
        ("hf:someone/tiny:x.ckpt", "someone/tiny has no file 'x.ckpt'; it has v1-5-pruned.safetensors"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(
    server: Hub, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", "a tree", "--model", name]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert words in err


def test_a_hub_that_does_not_answer_is_one_line(server: Hub) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(MissingError, match=r"the hub at http://127\.0\.0\.1:\d+ cannot be used \(") as caught:
        fetch(REPO)
    assert "\n" not in str(caught.value)


def test_no_room_on_the_disk_is_one_line(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(MachineError, match="the disk is full: no room for someone/tiny in"):
        fetch(REPO)


def test_without_the_extra_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingError, match=r"pip install 'scorefield\[hub\]'"):
        fetch(REPO)


def test_a_picture_records_the_commit_and_is_drawn_again_from_it(
    server: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", "a tree", "--model", "someone/tiny", "--variant", "fp16", "--size", "64", "--steps", "2"]
    assert run([*call, "--seed", "1", "--quiet", "-o", "tree.png"]) == 0
    assert run(["inspect", "tree.png", "--format", "json"]) == 0
    request = json.loads(capsys.readouterr().out.partition("\n")[2])["scorefield"]["request"]
    assert (request["model"], request["variant"]) == (f"hf:someone/tiny@{COMMIT}", "fp16")
    server.shutdown()
    server.server_close()
    assert run(["replay", "tree.png"]) == 0
    assert capsys.readouterr().out.endswith("identical\n")


def test_a_pipeline_takes_the_name_that_it_was_loaded_by_and_the_one_with_the_commit(server: Hub) -> None:
    pipe = load("someone/tiny")
    request = pipe.plan("a tree", size=64).request
    assert request.model == f"hf:someone/tiny@{COMMIT}"
    assert pipe.plan(request.model_copy(update={"model": "someone/tiny"})).request.model == request.model


def test_a_path_that_is_there_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named("someone/tiny") == REPO
    assert named("hf:someone/tiny@v1.0:sub/x.ckpt") == HubName(repo="someone/tiny", revision="v1.0", file="sub/x.ckpt")
    for name in ("tiny", "./someone/tiny", "/someone/tiny", "../someone/tiny", "a/b/c", "~/tiny", "hf:tiny", "a\\b"):
        assert named(name) is None
    Path("someone").mkdir()
    assert named("someone/tiny") is None  # a slip in a path
    with pytest.raises(ScorefieldError, match="someone/tiny: no such file or folder"):
        load("someone/tiny")
    assert named("hf:someone/tiny") == REPO


def test_shards_come_with_their_index_and_a_lone_file_needs_no_name() -> None:
    names = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors.index.json"]
    names += [f"unet/diffusion_pytorch_model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    assert chosen(REPO, [*names, "unet/x-00001-of-00002.safetensors", "unet/openvino_model.bin"], None) == names[
        :1
    ] + sorted(names[1:])
    assert chosen(REPO, ["a.ckpt", "b.safetensors", "c.png"], None) == ["b.safetensors"]
    with pytest.raises(RequestError, match=r"has several weights files: name one, as in hf:someone/tiny:a\.ckpt"):
        chosen(REPO, ["a.ckpt", "b.ckpt"], None)
    with pytest.raises(UnsupportedError, match="is not a diffusers pipeline and has no weights file"):
        chosen(REPO, ["README.md"], None)
    assert hub.named("openai/clip-vit-large-patch14") is not None


def test_a_process_that_imported_nothing_before_says_in_one_line_that_the_hub_does_not_answer(tmp_path: Path) -> None:
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "scorefield", "generate", "a tree", "--model", "hf:owner/name"]
    ended = subprocess.run(
        [*command, "-o", str(tmp_path / "tree.png")], capture_output=True, text=True, env=os.environ | nobody
    )
    assert ended.returncode == 1
    assert re.fullmatch(r"error: .*owner/name.*\n", ended.stderr), ended.stderr
