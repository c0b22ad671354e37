"""Films as files: written and decoded again in every format, with their record, and drawn again from it."""

import base64
import io
import itertools
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import strangers_film, toy

import scorefield as sf
from scorefield.api import Film
from scorefield.cli import common
from scorefield.cli.main import run
from scorefield.files import films, mp4, picture, video
from scorefield.files.frame_store import FrameStore
from scorefield.files.open_picture import PictureError
from scorefield.files.output_names import OutputError, OutputNames
from scorefield.notes import ScorefieldWarning
from scorefield.zoo import registry

av = pytest.importorskip("av")

ENDINGS = [".mp4", ".webp", ".gif", ".png"]
RECORD = {"prompt": 'ein Bär; "熊" = \\ #\nzwei', "levels": [[0.123456789, 0.987654321]] * 1001}


def scene(n: int = 7, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """A square that moves over a slope of colours: no two frames are equal."""
    y, x = np.mgrid[: size[1], : size[0]]
    ground = np.stack([x * 255 // size[0], y * 255 // size[1], np.full_like(x, 90)], -1).astype(np.uint8)
    frames = []
    for k in range(n):
        frame = ground.copy()
        frame[8:24, 4 * k : 4 * k + 16] = (250, 240, 30)
        frames.append(Image.fromarray(frame))
    return frames


def write(path: Path, frames: list[Image.Image], fps: float = 8.0, *, overwrite: bool = False) -> Path:
    return films.write(frames, fps, json.dumps(RECORD), iter([path]), overwrite=overwrite)


def decoded(path: Path) -> tuple[np.ndarray, float]:
    """The frames (T, H, W, 3) of a moving file, and its length in seconds."""
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            return np.stack(frames), len(frames) / float(stream.average_rate)
    with Image.open(path) as shown:
        frames, length = [], 0
        for k in range(shown.n_frames):
            shown.seek(k)
            frames.append(np.asarray(shown.convert("RGB")))
            length += shown.info["duration"]
    return np.stack(frames), length / 1000


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [strangers_film.Family(), toy.Toys()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def film(here: None) -> Film:
    return sf.load("toy-film", device="cpu")("a tree", seed=3, frames=9, fps=6).films[0]


@pytest.mark.parametrize("fps", [6, 8, 23.976])
@pytest.mark.parametrize("ending", [".mp4", ".webp", ".gif"])
def test_a_moving_file_has_the_frames_the_size_and_the_speed(tmp_path: Path, ending: str, fps: float) -> None:
    frames = scene()
    path = write(tmp_path / f"x{ending}", frames, fps)
    found, seconds = decoded(path)
    wanted = np.stack([np.asarray(frame) for frame in frames])
    assert found.shape == wanted.shape
    assert seconds == pytest.approx(7 / fps, abs=0.006)
    assert np.abs(found.astype(int) - wanted).mean() < 6
    distances = [[np.abs(one.astype(int) - other).mean() for other in wanted] for one in found]
    assert np.argmin(distances, 1).tolist() == list(range(7)), "in order, none twice"
    assert os.listdir(tmp_path) == [path.name]


def test_png_frames_are_numbered_and_exact(tmp_path: Path) -> None:
    frames = scene(3)
    assert write(tmp_path / "x.png", frames) == tmp_path / "x-0001.png"
    assert sorted(os.listdir(tmp_path)) == ["x-0001.png", "x-0002.png", "x-0003.png"]
    for frame, name in zip(frames, sorted(tmp_path.iterdir()), strict=True):
        found, history = picture.read(name)
        assert np.array_equal(np.asarray(found), np.asarray(frame))
        assert history.ours == RECORD


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_odd_size_stays_but_for_mp4_which_loses_a_row_and_a_column(tmp_path: Path, ending: str) -> None:
    history = picture.read_history(write(tmp_path / f"x{ending}", scene(3, (61, 47))))
    assert (history.width, history.height) == ((60, 46) if ending == ".mp4" else (61, 47))


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_record_comes_back(tmp_path: Path, ending: str) -> None:
    history = picture.read_history(write(tmp_path / f"x{ending}", scene(3)))
    assert history.format == ending[1:].upper()
    assert (history.ours, history.a1111) == (RECORD, None)


def test_mp4_plays_in_browsers_and_other_programs_read_its_comment(tmp_path: Path) -> None:
    data = write(tmp_path / "x.mp4", scene()).read_bytes()
    assert data.find(b"moov") < data.find(b"mdat"), "the index stands in front"
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert json.loads(container.metadata["comment"]) == {"scorefield": RECORD}


def test_an_mp4_of_another_program_has_no_record_and_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    video.write_mp4(scene(), tmp_path / "x.mp4", 8, comment="Steps: 20, Sampler: Euler a, Seed: 1")
    history = picture.read_history(tmp_path / "x.mp4")
    assert history.ours is None
    assert history.a1111 is not None
    assert history.a1111.pairs["Seed"] == "1"
    whole = (tmp_path / "x.mp4").read_bytes()
    empty = b"\0\0\0\x08free" * 2**20
    for data in (whole[:20], whole[:200], whole[:32] + b"\0\0\0\7moov", whole[:32], whole[:32] + empty):
        (tmp_path / "y.mp4").write_bytes(data)
        with pytest.raises(PictureError) as caught:
            picture.read_history(tmp_path / "y.mp4")
        assert "y.mp4" in str(caught.value)


def test_every_changed_byte_of_a_header_is_read_or_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.mp4", scene(2)).read_bytes()
    for place in range(0, 700, 3):
        data = io.BytesIO(whole[:place] + b"\xff" + whole[place + 1 :])
        try:
            mp4.read_header(data)
        except ValueError:
            continue


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_encoder_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, error: BaseException
) -> None:
    calls = itertools.count()

    def broken(*_: object, **__: object) -> None:
        raise error

    def third(*_: object) -> bytes:
        if next(calls) == 2:
            raise error
        return b"part"

    monkeypatch.setattr(picture, "encode", third)
    monkeypatch.setattr(films, "write_mp4", lambda frames, path, *_, **__: (path.write_bytes(b"half"), broken()))
    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(type(error)):
        write(tmp_path / f"new/x{ending}", scene(5))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    film: Film, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses longer files
    try:
        code = run(["generate", "a tree", "-m", "toy-film", "-o", f"new/x{ending}", "-q"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert capsys.readouterr().err == "error: cannot use new: File too large\n"
    assert os.listdir() == []


def test_a_full_folder_of_temporary_files_is_one_line_and_leaves_nothing(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setitem(FrameStore.__init__.__kwdefaults__, "in_memory", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        code = run(["generate", "a tree", "-m", "toy-film", "-o", "new/x.mp4", "-q"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (code, capsys.readouterr().err) == (1, f"error: cannot use {temporary}: File too large\n")
    assert (os.listdir(), os.listdir(temporary)) == (["temporary"], [])


def test_frames_that_cannot_all_be_published_are_withdrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, publish = itertools.count(), films.atomic.publish

    def third(*args: object, **given: object) -> Path:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return publish(*args, **given)

    monkeypatch.setattr(films.atomic, "publish", third)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.png", scene(5))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_file_is_written_over(film: Film, ending: str) -> None:
    tail = "-0001" if ending == ".png" else ""
    assert [film.save(f"x{ending}").name for _ in range(2)] == [f"x{tail}{ending}", f"x-1{tail}{ending}"]
    assert film.save(f"x{ending}", overwrite=True).name == f"x{tail}{ending}"
    assert len(os.listdir()) == (18 if ending == ".png" else 2)


def test_a_set_of_frames_takes_a_name_that_none_of_them_shares(film: Film) -> None:
    Path("x-0004.png").write_text("mine")
    assert film.save("x.png") == Path("x-1-0001.png")
    assert Path("x-0004.png").read_text() == "mine"


def test_a_folder_gets_mp4_or_webp_with_a_note(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    assert film.save("out") == Path("out/a-tree-0.mp4")
    monkeypatch.setattr(video, "can_encode", lambda: False)
    with pytest.warns(ScorefieldWarning, match=r"WebP; for mp4, pip install 'scorefield\[video\]'"):
        assert film.save("out") == Path("out/a-tree-0.webp")


def test_pictures_are_png_and_nothing_else() -> None:
    for name in ("x.mp4", "x.webp", "x.gif"):
        with pytest.raises(OutputError, match=r"pictures are written as PNG; use x\.png or a folder"):
            OutputNames(Path(name)).ending(film=False)
    with pytest.raises(OutputError, match=r"use x\.png"):
        OutputNames(Path("x.jpg"))


def test_a_result_saves_all_its_films(here: None) -> None:
    result = sf.load("toy-film", device="cpu")("a tree", seed=0, count=2)
    assert result.save("out") == [Path("out/a-tree-0.mp4"), Path("out/a-tree-1.mp4")]


def test_a_sheet_and_a_walk_video_show_frames_of_every_step(here: None) -> None:
    words = ["--frames", "9", "--seed", "3", "--steps", "4", "-o", "x.mp4"]
    assert run(["generate", "a tree", "-m", "toy-film", *words, "--sheet", "--at", "2,4", "--walk-video"]) == 0
    assert sorted(os.listdir()) == ["x-sheet.png", "x-walk.mp4", "x.mp4"]
    film = sf.load("toy-film", device="cpu")("a tree", frames=9, seed=3, steps=4).films[0]
    width, height = film.frames[0].size
    row = np.concatenate([np.asarray(film.frames[k]) for k in (0, 2, 4, 6, 8)], 1)
    sheet = np.asarray(Image.open("x-sheet.png"))
    bar = 16
    assert sheet.shape[:2] == (8 + 2 * (2 * height + 2 + bar + 8), 5 * width + 16)
    top = 8 + 2 * height + 2 + bar + 8  # of step 4, which is the end: the state is the film, and so is the prediction
    for below in (top, top + height + 2):
        assert np.array_equal(sheet[below : below + height, 8:-8], row)
    assert not np.array_equal(sheet[8 : 8 + height, 8:-8], row)
    with av.open("x-walk.mp4") as container:
        assert len(list(container.decode(video=0))) > 5


def test_a_film_moves_in_a_notebook(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    def data(html: str) -> bytes:
        return base64.b64decode(html.partition("base64,")[2].partition('"')[0])

    assert film._repr_html_().startswith("<video ")
    with av.open(io.BytesIO(data(film._repr_html_()))) as container:
        assert len(list(container.decode(video=0))) == 9
    result = sf.load("toy-film", device="cpu")("a tree", count=2)
    assert result._repr_png_() is None
    assert (result._repr_html_() or "").count("<video ") == 2
    monkeypatch.setattr(video, "can_encode", lambda: False)
    assert Image.open(io.BytesIO(data(film._repr_html_()))).format == "GIF"
    assert sf.load("toy", device="cpu")("a tree")._repr_html_() is None
    assert os.listdir() == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_command_line_writes_inspects_and_replays_it(
    here: None, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    tail = "-0001" if ending == ".png" else ""
    name, again = f"x{tail}{ending}", f"y{tail}{ending}"
    assert run(["generate", "a tree", "-m", "toy-film", "--frames", "9", "--fps", "6", "-o", f"x{ending}", "-q"]) == 0
    assert capsys.readouterr().out == f"{name}\n"
    assert run(["inspect", name]) == 0
    shown = capsys.readouterr().out
    assert f"{ending[1:].upper()} film, 16 x 16" in shown
    assert "request.frames: 9" in shown
    assert run(["replay", name, "-o", f"y{ending}"]) == 0
    assert capsys.readouterr().out == f"identical: the 9 frames drawn again have the hash of the record\n{again}\n"
    assert Path(again).read_bytes() == Path(name).read_bytes()
    assert run(["replay", name, "-o", "z.jpg"]) == 2


def test_a_film_that_is_not_the_same_is_reported(film: Film, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.dumps(film.record() | {"frames_sha256": "0" * 64})
    films.write(film.frames, film.fps, record, iter([Path("x.mp4")]))
    assert run(["replay", "x.mp4"]) == 1
    assert capsys.readouterr().out == "different: the 9 frames drawn again have another hash than in the record\n"
    assert run(["replay", "x.mp4", "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": "x.mp4", "identical": False, "frames_sha256": film.frames_sha256, "film": None}
    other = json.dumps(film.record() | {"request": sf.load("toy").plan("a tree").request.model_dump(mode="json")})
    films.write(film.frames, film.fps, other, iter([Path("y.mp4")]))
    assert run(["replay", "y.mp4"]) in (1, 2)
    assert capsys.readouterr().err.startswith("error: ")


def test_a_sheet_and_a_walk_video_show_its_first_frames(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["generate", "a tree", "-m", "toy-film", "--steps", "3", "--sheet", "--walk-video", "--format", "json"]
    assert run([*call, "-o", "x.mp4", "--seed", "0", "-q"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["pictures"]
    names = {"film": "x.mp4", "sheet": "x-sheet.png", "walk_video": "x-walk.mp4"}
    assert told == {"prompt": "a tree", "seed": 0} | names
    assert sorted(os.listdir()) == sorted(names.values())


def test_a_model_of_pictures_refuses_films_before_it_draws(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "a tree", "-m", "toy", "-o", "x.mp4"]) == 2
    assert capsys.readouterr().err == "error: pictures are written as PNG; use x.png or a folder\n"
    assert run(["generate", "a tree", "-m", "toy", "--frames", "9", "-o", "x.mp4"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == []


def test_mp4_without_its_library_fails_before_it_draws(
    here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(video, "import_module", absent)
    assert run(["generate", "a tree", "-m", "toy-film", "-o", "x.mp4"]) == 1
    assert "scorefield[video]" in capsys.readouterr().err
    assert os.listdir() == []
