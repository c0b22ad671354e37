import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import toy
from torch import nn

from scorefield import zoo
from scorefield.cli import common, generate, main
from scorefield.cli import write_outputs as drawing
from scorefield.core import grid, noise
from scorefield.errors import DamagedError
from scorefield.families.scenes import build_scenes
from scorefield.families.stable_diffusion.build import StableDiffusion
from scorefield.files import picture, video
from scorefield.request import GROUPS, fields
from scorefield.sample import samplers
from scorefield.sample.samplers import SAMPLERS
from scorefield.weights import scorefield_file
from scorefield.zoo import registry

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def the_toy_is_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys(), StableDiffusion()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scorefield(capsys):
    def call(*args):
        code = main.run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def failed(scorefield):
    def call(*args):
        code, out, err = scorefield(*args)
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert os.listdir() == []
        return code, err.removeprefix("error: ").strip()

    return call


@contextmanager
def nobody():
    """Without the rights of an administrator, whom no file mode stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_prompt_becomes_a_file_whose_name_is_printed(scorefield):
    assert scorefield("generate", "a tree in the desert", "--seed", 0) == (0, "a-tree-in-the-desert-0.png\n", "")
    image, history = picture.read(Path("a-tree-in-the-desert-0.png"))
    assert image.size == (16, 16)
    assert history.ours["seed"] == 0
    assert os.listdir() == ["a-tree-in-the-desert-0.png"]


def test_the_command_draws_what_the_pipeline_draws(scorefield):
    from scorefield.api import Pipeline

    scorefield("generate", "a tree", "--seed", 5, "--steps", 7, "--guidance", "2.5", "-o", "x.png")
    wanted = Pipeline(toy.model())("a tree", seed=5, steps=7, guidance=2.5).image
    assert np.array_equal(np.asarray(Image.open("x.png")), np.asarray(wanted))


@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (["--guidance", "2"], "cfg_scale", 2),
        (["--guidance-scale", "2"], "cfg_scale", 2),
        (["--cfg-scale", "2"], "cfg_scale", 2),
        (["--sampling-method", "heun"], "sampler", "heun"),
        (["--sampler-name", "heun"], "sampler", "heun"),
        (["--sampler", "Euler a"], "sampler", "euler_ancestral"),
        (["--scheduler", "karras"], "schedule", "karras"),
        (["--schedule", "karras"], "schedule", "karras"),
        (["-n", "fog"], "negative_prompt", "fog"),
        (["--negative-prompt", "fog"], "negative_prompt", "fog"),
        (["-W", "24"], "width", 24),
        (["-H", "24"], "height", 24),
        (["--size", "24x16"], "width", 24),
        (["--size", "24"], "height", 24),
        (["--cfg-interval", "-2,3"], "cfg_interval", [-2, 3]),
        (["-b", "2"], "count", 2),
        (["--count", "2"], "count", 2),
        (["--eta", "0.5", "--sampler", "ddim"], "eta", 0.5),
    ],
)
def test_every_spelling_of_an_option_is_taken(scorefield, args, field, value):
    code, out, err = scorefield("generate", "a tree", "--seed", 1, "--dry-run", "--format", "json", *args)
    assert (code, err) == (0, "")
    assert json.loads(out)["request"][field] == value
    assert os.listdir() == []


def test_every_field_of_the_request_is_an_option(scorefield):
    out = scorefield("generate", "--help")[1]
    for option in (option for group in GROUPS for _, option, _ in fields(group)):
        assert all(name in out for flag in option.flags for name in flag.split("/"))


def test_the_help_lists_every_sampler_schedule_and_noise(scorefield):
    assert generate.SAMPLERS.split(", ") == [record.name for record in SAMPLERS]
    assert generate.SCHEDULES.split(", ") == list(grid.SCHEDULES)
    out = " ".join(scorefield("generate", "--help")[1].split())
    assert f"Samplers: {generate.SAMPLERS}." in out
    assert f"Schedules: {generate.SCHEDULES}." in out
    assert all(policy in out for policy in noise.POLICIES)


def test_json_tells_the_files_and_the_whole_request(scorefield):
    code, out, _ = scorefield("generate", "a tree", "a cat", "--seed", 4, "--count", 2, "--format", "json")
    told = json.loads(out)
    assert code == 0
    assert told["pictures"] == [
        {"prompt": "a tree", "seed": 4, "picture": "a-tree-0.png"},
        {"prompt": "a tree", "seed": 5, "picture": "a-tree-1.png"},
        {"prompt": "a cat", "seed": 6, "picture": "a-cat-0.png"},
        {"prompt": "a cat", "seed": 7, "picture": "a-cat-1.png"},
    ]
    assert told["request"]["steps"] == 4
    assert told["seconds"].keys() == {"load", "draw"}


def test_a_dry_run_tells_the_plan(scorefield):
    code, out, _ = scorefield("generate", "a tree", "--count", 2, "--seed", 8, "--dry-run")
    assert code == 0
    assert "picture: a tree (seed 9)" in out
    assert "sampler: euler" in out
    assert os.listdir() == []


def test_no_file_is_overwritten_unasked(scorefield):
    names = [scorefield("generate", "a tree", "--seed", k, "-o", "x.png")[1].strip() for k in range(3)]
    assert names == ["x.png", "x-1.png", "x-2.png"]
    before = Path("x.png").read_bytes()
    assert scorefield("generate", "a tree", "--seed", 9, "-o", "x.png", "--overwrite")[1].strip() == "x.png"
    assert Path("x.png").read_bytes() != before
    assert len(os.listdir()) == 3


def test_a_dry_run_tells_a_prompt_that_is_too_long(failed):
    assert failed("generate", "tree " * 20, "--dry-run") == (2, "the prompt has 20 words, this model reads at most 12")


@pytest.mark.parametrize("args", [["--sampler", "eulr"], ["--dry-run"]])
def test_a_run_that_draws_nothing_leaves_no_folder(scorefield, args):
    scorefield("generate", "a tree", "-o", "new/folder", *args)
    assert os.listdir() == []


def test_an_output_folder_is_made(scorefield):
    assert scorefield("generate", "a tree", "-o", "new/folder")[1].strip() == os.path.join(
        "new", "folder", "a-tree-0.png"
    )


def test_words_that_the_model_never_saw_are_a_warning(scorefield):
    code, out, err = scorefield("generate", "a zebra")
    assert code == 0
    assert out == "a-zebra-0.png\n"
    assert err.startswith("warning: the model toy never saw zebra")
    assert err.count("\n") == 1


def test_a_progress_bar_counts_the_steps(monkeypatch, capfd):
    bars = []

    class Bar(drawing.tqdm):
        def __init__(self, **given):
            super().__init__(**{**given, "disable": False})
            bars.append(self)

    monkeypatch.setattr(drawing, "tqdm", Bar)
    main.run(["generate", "a tree", "--steps", "6", "--count", "3", "--batch-size", "2"])
    assert (bars[0].n, bars[0].total) == (12, 12)
    assert "0/12" in capfd.readouterr().err


def test_a_sheet_shows_state_and_prediction_of_every_step(scorefield):
    code, out, _ = scorefield("generate", "a tree", "--seed", 0, "--steps", 5, "--sheet")
    assert code == 0
    assert out.split() == ["a-tree-0.png", "a-tree-0-sheet.png"]
    sheet, last = np.asarray(Image.open("a-tree-0-sheet.png")), np.asarray(Image.open("a-tree-0.png"))
    width, height = 2 * 16 + 2 + 8, 16 + 16 + 8
    top, left = 8 + height, 8 + width  # the sixth of the looks, four a row
    assert np.array_equal(sheet[top : top + 16, left : left + 16], last)
    assert np.array_equal(sheet[top : top + 16, left + 18 : left + 34], last)
    first_state, first_guess = sheet[8:24, 8:24], sheet[8:24, 26:42]
    assert not np.array_equal(first_state, first_guess)
    start = next(iter(_stream("a tree", seed=0, steps=5)))
    assert np.array_equal(first_state, ((start.x[0].clamp(-1, 1) + 1) * 127.5).round().byte().movedim(0, -1).numpy())


def test_a_sheet_may_show_some_steps(scorefield):
    assert scorefield("generate", "a tree", "--seed", 0, "--steps", 5, "--sheet")[0] == 0
    assert (
        scorefield("generate", "a tree", "--seed", 0, "--steps", 5, "--sheet", "--at", "5, 0,3", "-o", "b.png")[0] == 0
    )
    whole, some = (np.asarray(Image.open(name)) for name in ("a-tree-0-sheet.png", "b-sheet.png"))
    width, height = 2 * 16 + 2 + 8, 16 + 16 + 8
    for k, step in enumerate((0, 3, 5)):
        top, left = 8 + step // 4 * height, 8 + step % 4 * width
        tile = whole[top : top + 32, left : left + 34]
        assert np.array_equal(some[8:40, 8 + k * width : 42 + k * width], tile)
    assert some.shape[1] == 8 + 3 * width


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--sheet", "--at", "5,6"), "--at 6: the walk has 5 steps"),
        (("--at", "5"), "--at is for a sheet: give --sheet, too"),
        (("--sheet", "--at", "5,-1"), "'5,-1' is not a list of steps such as 5,10,20"),
        (("--sheet", "--at", ""), "'' is not a list of steps such as 5,10,20"),
        (("--sheet", "--at", "²"), "'²' is not a list of steps such as 5,10,20"),
    ],
)
def test_steps_of_a_sheet_that_are_none_are_refused(failed, words, line):
    assert line in failed("generate", "a tree", "--steps", 5, *words)[1]


def _stream(prompt, **given):
    from scorefield.api import Pipeline

    return Pipeline(toy.model()).stream(prompt, **given)


def test_a_walk_video_shows_every_step(scorefield):
    av = pytest.importorskip("av")
    code, out, _ = scorefield("generate", "a tree", "--seed", 0, "--steps", 5, "--film", "--sheet")
    assert code == 0
    assert out.split() == ["a-tree-0.png", "a-tree-0-sheet.png", "a-tree-0-walk.mp4"]
    with av.open("a-tree-0-walk.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    assert frames[0].shape[1] >= 1024
    last = np.asarray(Image.open("a-tree-0.png").resize((512, 512), Image.Resampling.NEAREST)).astype(float)
    away = [np.abs(frame[:512, -512:] - last).mean() for frame in frames]
    assert len(frames) > 6
    assert away[0] > 20
    assert away[5] < 8
    assert max(away[5:]) < 8
    assert sorted(os.listdir()) == ["a-tree-0-sheet.png", "a-tree-0-walk.mp4", "a-tree-0.png"]


def test_a_walk_video_without_its_library_fails_before_drawing(failed, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(video, "import_module", absent)
    code, line = failed("generate", "a tree", "--film")
    assert code == 1
    assert "scorefield[video]" in line


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "there is no prompt; give one"),
        (["a tree"] * 300, "1 to 256 texts"),
        (["a" * 20000], "a prompt of 20000 characters is too long"),
        (["a\x07b"], "control character"),
        (["tree " * 20], "the prompt has 20 words, this model reads at most 12"),
        (["a tree", "--steps", "0"], "steps must be a whole number from 1 to 1000, not '0'"),
        (["a tree", "--steps", "100000"], "steps must be a whole number from 1 to 1000, not '100000'"),
        (["a tree", "--steps", "many"], "steps must be a whole number from 1 to 1000, not 'many'"),
        (["a tree", "--cfg-scale", "nan"], "--cfg-scale must be a number from 0 to 100, not 'nan'"),
        (["a tree", "--size", "20x16"], "width 20 is not a multiple of 8; use 16 or 24"),
        (["a tree", "--size", "big"], "size must be WIDTHxHEIGHT"),
        (["a tree", "--sampler", "eulr"], "euler"),
        (["a tree", "--schedule", "karas"], "karras"),
        (["a tree", "--count", "100000"], "count must be a whole number from 1 to 1024"),
        (["a tree", "--seed", "-5"], "seed must be a whole number"),
        (["a tree", "--device", "cuda:99"], "there is no device cuda:99 here"),
        (["a tree", "--format", "yaml"], "yaml"),
        (["a tree", "-o", "x.jpg"], "use x.png or a folder"),
        (["a tree", "-o", "-"], "cannot write a picture to standard output"),
        (["a tree", "--cfg-interval", "3"], "LO,HI such as -4,2, not '3'"),
        (["a tree", "--cfg-interval", "a,b"], "LO,HI such as -4,2, not 'a,b'"),
        (["a tree", "--stesp", "3"], "--steps"),
    ],
)
def test_a_wrong_call_is_one_line_and_leaves_nothing(failed, args, says):
    code, line = failed("generate", *args)
    assert code == 2
    assert says in line


def test_an_unknown_model_is_one_line(failed):
    line = "--model: no model 'tyo'; give toy, a path, or owner/name on the Hugging Face hub"
    assert failed("generate", "a tree", "--model", "tyo") == (2, line)


@pytest.mark.parametrize("size", [None, 0, 100, 3000])
def test_a_damaged_weights_file_is_one_line(failed, monkeypatch, tmp_path_factory, size):
    folder = tmp_path_factory.mktemp("weights")
    path = folder / build_scenes.GENERATOR
    if size is not None:
        scorefield_file.save(path, {"a": torch.zeros(2000)}, scorefield_file.Header(kind="generator", config={}))
        path.write_bytes(path.read_bytes()[:size])
    monkeypatch.setattr(
        toy.Toys, "build", lambda _, identity, choice, place: build_scenes.scenes(place, choice, folder)
    )
    code, line = failed("generate", "a tree")
    assert code == 1
    assert str(path) in line


def test_models_of_a_damaged_file_is_one_line(failed, monkeypatch):
    def available():
        raise DamagedError("w.safetensors is damaged; get it again")

    monkeypatch.setattr(zoo, "available", available)
    assert failed("models") == (1, "w.safetensors is damaged; get it again")


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError])
def test_a_bug_keeps_its_traceback(scorefield, monkeypatch, kind):
    def broken(*_):
        raise kind("strange kernel")

    record = replace(samplers.find("euler")[0], sampler=broken)
    monkeypatch.setattr(samplers, "find", lambda name: (record, None))
    with pytest.raises(kind, match="strange kernel"):
        scorefield("generate", "a tree", "--sampler", "euler")


def test_a_bug_says_where_to_report_it(monkeypatch):
    code = (
        "from tests import toy; from scorefield.zoo import registry; registry.FAMILIES[:] = [toy.Toys()]\n"
        "def broken(*_): raise ValueError('strange kernel')\n"
        "toy.Toys.build = broken\n"
        "from scorefield.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "generate", "a tree"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: strange kernel" in done.stderr
    assert "report" in done.stderr.splitlines()[-1]


def test_out_of_memory_has_a_message_of_ours(failed, monkeypatch):
    monkeypatch.setattr(toy.Toys, "build", lambda *_: torch.empty(2**55))
    code, line = failed("generate", "a tree")
    assert code == 1
    assert line.startswith("out of memory; ")


def test_a_number_that_is_none_is_one_line_and_no_picture(failed, monkeypatch):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x, time, tokens, mask):
            return x / 0

    monkeypatch.setattr(toy, "Net", Broken)
    code, line = failed("generate", "a tree")
    assert code == 1
    assert "step 0 of 4" in line
    assert "x0" in line


def test_a_read_only_folder_is_one_line_before_any_work(scorefield, monkeypatch):
    def build(*_):
        raise AssertionError("nothing is loaded for a folder that cannot be written")

    monkeypatch.setattr(toy.Toys, "build", build)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        with nobody():
            code, out, err = scorefield("generate", "a tree", "-o", folder)
        assert os.listdir(folder) == []
    assert (code, out) == (1, "")
    assert "Permission denied" in err
    assert err.count("\n") == 1


def test_an_output_inside_a_file_is_one_line(scorefield):
    Path("taken").write_text("")
    code, out, err = scorefield("generate", "a tree", "-o", "taken/x")
    assert (code, out) == (1, "")
    assert err.startswith("error: cannot use taken/x: ")
    assert os.listdir() == ["taken"]


@pytest.mark.parametrize("extra", [(), ("--sheet",), ("--film",)])
def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(scorefield, extra):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000 if extra else 500, hard))  # the kernel refuses longer files
    try:
        code, _, err = scorefield("generate", "a tree", "--steps", 20, *extra)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert "too large" in err
    assert err.count("\n") == 1
    assert os.listdir() == (["a-tree-0.png"] if extra else [])


DRIVER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job hands down an ignored one
from tests import toy
from scorefield.zoo import registry
class Slow(toy.Net):
    def forward(self, *args, **given):
        print("drawing", file=sys.stderr, flush=True)
        time.sleep(0.01)
        return super().forward(*args, **given)
toy.Net, registry.FAMILIES[:] = Slow, [toy.Toys()]
from scorefield.cli.main import main
main()
"""


def driven(*args):
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *args],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_half_way_is_one_line_and_leaves_nothing():
    process = driven("generate", "a tree", "--steps", "1000", "--sheet", "-o", "new/folder")
    for line in process.stderr:
        if line == "drawing\n":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.replace("drawing\n", "") == "error: interrupted\n"
    assert os.listdir() == []


def test_two_runs_that_write_to_one_name_both_keep_their_picture():
    runs = [driven("generate", "a tree", "--seed", str(seed), "-o", "x.png", "--steps", "3") for seed in (1, 2)]
    told = sorted(run.communicate(timeout=60)[0].strip() for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert told == sorted(os.listdir()) == ["x-1.png", "x.png"]
    assert {picture.read(Path(name))[1].ours["seed"] for name in told} == {1, 2}


def test_models_tells_what_each_knows(scorefield):
    code, out, _ = scorefield("models")
    assert code == 0
    assert "toy: Noise, coloured by its words." in out
    assert "things: tree, cat, dog" in out
    told, *_ = json.loads(scorefield("models", "--format", "json")[1])
    assert told["knows"] == {"things": ["tree", "cat", "dog"], "places": ["the desert"]}
    assert told["defaults"]["steps"] == 4


def test_models_lists_the_kinds_that_are_loaded_from_files_those_for_inpainting_too(scorefield):
    told = json.loads(scorefield("models", "--format", "json")[1])
    assert {(one["name"], one["inpaints"]) for one in told if one["loaded_by"] == "files"} == {
        ("stable-diffusion-1", False), ("stable-diffusion-1-v", False),
        ("stable-diffusion-2-base", False), ("stable-diffusion-2-v", False),
        ("stable-diffusion-2-1-unclip", False), ("stable-diffusion-xl", False), ("stable-diffusion-xl-v", False),
        ("stable-diffusion-1-inpainting", True), ("stable-diffusion-1-v-inpainting", True),
        ("stable-diffusion-2-base-inpainting", True), ("stable-diffusion-2-v-inpainting", True),
        ("stable-diffusion-xl-inpainting", True), ("stable-diffusion-xl-v-inpainting", True),
    }  # fmt: skip
    out = scorefield("models")[1]
    assert "\nstable-diffusion-1-inpainting: Stable Diffusion 1 by CompVis" in out
    assert out.count("\n  for inpainting: ") == 6


def test_inspect_shows_our_record_and_the_text_of_other_programs(scorefield):
    scorefield("generate", "a tree", "--seed", 3, "-n", "fog", "-o", "x.png")
    told = json.loads(scorefield("inspect", "x.png", "--format", "json")[1])
    assert told["a1111"]["prompt"] == "a tree"
    assert told["a1111"]["negative_prompt"] == "fog"
    assert told["scorefield"]["request"]["seed"] == 3
    assert "a1111\n  prompt: a tree\n" in scorefield("inspect", "x.png")[1]


def test_a_terminal_gets_a_path_escaped_and_a_program_as_it_is(scorefield, monkeypatch):
    odd = "a\x1b[31m\u202eb.png"
    assert scorefield("generate", "a tree", "-o", odd)[1] == f"{odd}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert scorefield("generate", "a tree", "-o", odd, "--overwrite", "-q")[1] == "a\\x1b[31m\\u202eb.png\n"
