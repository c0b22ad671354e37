import json
import math

import numpy as np
import pytest
from PIL import Image

from scorefield.core import grid
from scorefield.files import parameters, picture, video, walk_pictures
from scorefield.files.open_picture import PictureError
from scorefield.files.walk_pictures import Look, write_walk_video
from scorefield.sample import samplers


def photo(seed=0, size=(32, 16)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def walk(n=5, size=(32, 16)):
    return [Look(i, n, math.inf if i == n else i - 2.0, photo(i, size), photo(100 + i, size)) for i in range(n + 1)]


PAIRS = {"Steps": 20, "Sampler": "Euler a", "CFG scale": 7, "Seed": 965400086, "Size": "512x512"}


def test_the_parameters_text_is_laid_out_as_its_readers_expect():
    assert parameters.write("a tree", "fog", PAIRS) == (
        "a tree\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512"
    )


def test_an_empty_negative_prompt_has_no_line():
    assert parameters.write("a tree", "", PAIRS).count("\n") == 1


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [("a tree", ""), ("a tree,\nin two: lines", "fog, rain:\nsnow"), ("", ""), ("", "fog"), ('a "quoted" tree', "")],
)
def test_parameters_come_back_as_they_were_written(prompt, negative):
    pairs = PAIRS | {"Model": 'odd, "name": here', "Note": "two\nlines"}
    found = parameters.read(parameters.write(prompt, negative, pairs))
    assert found.prompt == prompt
    assert found.negative_prompt == negative
    assert found.pairs == {name: str(value) for name, value in pairs.items()}


def test_a_text_of_another_program_is_understood():
    text = (
        "masterpiece, a (tree:1.2)\nwith two lines\nNegative prompt: bad hands\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, "
        'Lora hashes: "a: 12, b: 34", Version: v1.10.1'
    )
    found = parameters.read(text)
    assert found.prompt == "masterpiece, a (tree:1.2)\nwith two lines"
    assert found.negative_prompt == "bad hands"
    assert found.pairs["Lora hashes"] == "a: 12, b: 34"
    assert found.pairs["Version"] == "v1.10.1"


def test_a_last_line_of_two_pairs_is_part_of_the_prompt():
    assert parameters.read("a tree\nmood: calm, light: low") == ("a tree\nmood: calm, light: low", "", {})


@pytest.mark.parametrize("text", ["plain", "Bär 熊 🐻\nzwei"])
def test_a_picture_keeps_its_pixels_and_its_texts(tmp_path, text):
    path = tmp_path / "tree.png"
    path.write_bytes(picture.encode(photo(), {"parameters": text, picture.OURS: json.dumps({"seed": 2**63})}))
    found, history = picture.read(path)
    assert np.array_equal(np.asarray(found), np.asarray(photo()))
    assert history.ours == {"seed": 2**63}
    assert history.a1111.prompt == text
    assert (history.format, history.width, history.height) == ("PNG", 32, 16)


@pytest.mark.parametrize(
    ("name", "field"), [("workflow", "comfyui"), ("prompt", "comfyui"), ("invokeai_metadata", "invokeai")]
)
def test_the_records_of_other_programs_are_found(tmp_path, name, field):
    path = tmp_path / "tree.png"
    path.write_bytes(picture.encode(photo(), {name: '{"seed": 5}'}))
    assert getattr(picture.read(path)[1], field) == {name: {"seed": 5}}


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_the_user_comment_of_other_formats_is_read(tmp_path, form):
    exif = Image.Exif()
    text = "ein Bär\n" + parameters.write("", "", PAIRS).strip()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    photo().save(tmp_path / "tree", form, exif=exif)
    history = picture.read(tmp_path / "tree")[1]
    assert history.a1111.prompt == "ein Bär"
    assert history.a1111.pairs["Steps"] == "20"


def test_a_record_too_deep_to_read_is_shown_as_text(tmp_path):
    deep = "[" * 50000
    (tmp_path / "tree.png").write_bytes(picture.encode(photo(), {"prompt": deep, picture.OURS: deep}))
    history = picture.read(tmp_path / "tree.png")[1]
    assert (history.ours, history.comfyui) == (None, {"prompt": deep})


def test_a_picture_without_a_history_says_nothing(tmp_path):
    photo().save(tmp_path / "tree.png")
    history = picture.read(tmp_path / "tree.png")[1]
    assert (history.ours, history.a1111, history.comfyui, history.invokeai) == (None, None, {}, {})


def test_a_damaged_picture_is_one_line(tmp_path):
    whole = picture.encode(photo(size=(64, 64)), {"parameters": "a"})
    for k, data in enumerate(
        (b"", b"hello", whole[:40], whole[: len(whole) // 2], whole[:200] + b"\0" * 50 + whole[250:])
    ):
        path = tmp_path / f"{k}.png"
        path.write_bytes(data)
        with pytest.raises(PictureError) as caught:
            picture.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pair_shows_the_state_left_and_the_prediction_right():
    look = walk()[2]
    shown = np.asarray(walk_pictures.pair(look))
    assert np.array_equal(shown[:16, :32], np.asarray(look.noisy))
    assert np.array_equal(shown[:16, 34:66], np.asarray(look.clean))
    assert (shown[18:] > 200).any(), "the label is written"


def test_the_prediction_is_named_where_there_is_room():
    wide, narrow = (np.asarray(walk_pictures.pair(walk(5, size)[2])) for size in ((128, 128), (64, 64)))
    assert (wide[128:, 130:] > 200).any()
    assert (narrow[64:, :100] > 200).any()
    assert not (narrow[64:, 100:] > 200).any()


def test_labels_name_the_step_and_the_level():
    first, last = walk()[0], walk()[-1]
    assert first.label.split() == ["step", "0/5", "lam", "-2.00"]
    assert last.label.split() == ["step", "5/5", "clean"]
    assert first._replace(lam=-math.inf).label.endswith("pure noise")


def test_a_sheet_holds_every_step_once():
    steps = walk(5)
    sheet = np.asarray(walk_pictures.sheet(steps))
    height, width = np.asarray(walk_pictures.pair(steps[0])).shape[:2]
    for k, look in enumerate(steps):
        top, left = 8 + k // 4 * (height + 8), 8 + k % 4 * (width + 8)
        assert np.array_equal(sheet[top : top + height, left : left + width], np.asarray(walk_pictures.pair(look)))


def test_a_video_plays_in_browsers_and_shows_every_step(tmp_path):
    av = pytest.importorskip("av")
    steps, path = walk(5, (128, 128)), tmp_path / "tree.mp4"
    write_walk_video(steps, path)
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat"), "the index stands in front"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0
        assert stream.width >= 512
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    assert len(frames) > len(steps), "the last picture is held"
    wanted = [np.asarray(walk_pictures.pair(look, scale=4)).astype(float) for look in steps]
    for k, frame in enumerate(frames):
        distances = [np.abs(frame - one).mean() for one in wanted]
        assert int(np.argmin(distances)) == min(k, 5)


def test_a_video_states_its_colours_and_keeps_them(tmp_path):
    av = pytest.importorskip("av")
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (255, 255, 255)]
    plain = [Image.new("RGB", (128, 128), colour) for colour in colours]
    path = tmp_path / "plain.mp4"
    write_walk_video([Look(i, 4, 0.0, image, image) for i, image in enumerate(plain)], path)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1), "BT.709"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for colour, frame in zip(colours, frames, strict=False):
        assert np.abs(frame[200, 200].astype(int) - colour).max() <= 3


def test_a_video_without_its_library_names_the_extra(monkeypatch, tmp_path):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(video, "import_module", absent)
    with pytest.raises(video.MissingExtraError, match=r"scorefield\[video\]"):
        write_walk_video(walk(), tmp_path / "tree.mp4")


def test_samplers_and_schedules_are_written_as_a1111_writes_them_and_are_found_again_by_that():
    assert parameters.SAMPLERS["euler_ancestral"] == "Euler a"
    assert all(samplers.find(theirs) == (samplers.find(ours)[0], None) for ours, theirs in parameters.SAMPLERS.items())
    assert parameters.SCHEDULES["sgm_uniform"] == "SGM Uniform"
    for ours, theirs in parameters.SCHEDULES.items():
        assert grid.find(theirs) is grid.find(ours)
