"""Pictures and films that were made here, read again: in other formats, and frame by frame."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scorefield.files import films, made_files, picture

RECORD = json.dumps({"prompt": "a tree – 树", "seed": 3})
COLOURS = [(200, 30, 30), (200, 30, 30), (30, 200, 30), (30, 30, 200), (30, 30, 200)]  # equal neighbours are joined


def film(path: Path) -> Path:
    frames = [Image.new("RGB", (32, 16), colour) for colour in COLOURS]
    return films.write(frames, 10.0, RECORD, iter([path]))


@pytest.mark.parametrize(("form", "most"), [("JPEG", 12), ("WEBP", 12)])
def test_another_format_shows_the_same_picture_and_keeps_its_record(form: str, most: float, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(90)), -1))
    path = tmp_path / "picture"
    path.write_bytes(made_files.converted(picture.encode(image, {picture.OURS: RECORD}), form, 95))
    pixels, history = picture.read(path)
    assert history.format == form
    assert history.ours == json.loads(RECORD)
    assert np.abs(np.asarray(pixels, int) - np.asarray(image, int)).max() <= most


def test_a_lower_quality_is_a_smaller_file() -> None:
    noise = Image.effect_noise((64, 64), 60).convert("RGB")
    data = picture.encode(noise, {picture.OURS: RECORD})
    assert len(made_files.converted(data, "WEBP", 10)) < len(made_files.converted(data, "WEBP", 90)) / 2


def test_a_jpeg_without_room_for_its_record_is_written_without_it() -> None:
    data = picture.encode(Image.new("RGB", (16, 16)), {picture.OURS: json.dumps({"prompt": "x" * 70_000})})
    jpeg = made_files.converted(data, "JPEG", 90)
    assert Image.open(io.BytesIO(jpeg)).size == (16, 16)
    assert len(jpeg) < 10_000


@pytest.mark.parametrize("ending", [".mp4", ".gif", ".webp"])
def test_the_frames_of_a_film_come_back_although_formats_join_equal_ones(ending: str, tmp_path: Path) -> None:
    if ending == ".mp4":
        pytest.importorskip("av")
    frames = list(made_files.frames_of(film(tmp_path / f"film{ending}"), len(COLOURS)))
    assert len(frames) == len(COLOURS)
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(np.asarray(frame, int) - colour).max() <= 20


def test_a_thinned_gif_has_frames_from_first_to_last_its_own_pace_and_its_record(tmp_path: Path) -> None:
    path = tmp_path / "thin.gif"
    path.write_bytes(made_files.thinned(film(tmp_path / "film.gif"), 5, 3, 0.2))
    frames = list(made_files.frames_of(path, 3))
    assert [frame.getpixel((0, 0)) for frame in frames] == [COLOURS[0], COLOURS[2], COLOURS[4]]
    with Image.open(path) as image:
        assert [image.n_frames, image.info["duration"]] == [3, 200]
    assert picture.read_history(path).ours == json.loads(RECORD)
