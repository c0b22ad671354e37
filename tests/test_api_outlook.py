"""Whether a drawing fits this machine, told before its model is loaded, and with which options it would."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import published
from torch import nn

from scorefield.api import forecast as forecasts
from scorefield.api import outlook as outlooks
from scorefield.api import prepare
from scorefield.api.forecast import Forecast, PartMemory
from scorefield.api.free_memory import available, resident
from scorefield.api.outlook import Outlook, outlook
from scorefield.errors import MachineError
from scorefield.nets.experts import Experts
from scorefield.nets.unet import Unet
from scorefield.request import parse

GB = 10**9


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 1, whole, of zeros that take no room on the disk."""
    return published.sparse(tmp_path_factory.mktemp("sd1") / "sd1.safetensors", published.sd1())


def looked(model: object = "scenes", **options: Any) -> Outlook:
    return outlook(parse({"prompt": "a tree", "model": str(model), "device": "cpu", **options}))


def limit(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """A machine with `size` bytes; those of this process do not depend on the tests before."""
    monkeypatch.setattr(outlooks, "available", lambda _: int(size))
    monkeypatch.setattr(forecasts, "resident", lambda: 300 << 20)


def test_parts_have_the_bytes_of_their_weights_in_the_dtype_asked_for(sd1: Path) -> None:
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        sizes[dtype] = {one.name: one.bytes for one in looked(sd1, dtype=dtype, size=64).forecast.parts}
    assert sizes["float32"].keys() == {"text encoder", "denoiser", "autoencoder"}
    assert sizes["float32"]["denoiser"] == 4 * published.PARAMS["ldm/sd1 model.diffusion_model."]
    assert all(2 * sizes["bfloat16"][name] == size for name, size in sizes["float32"].items() if name != "autoencoder")


def test_the_peak_is_all_weights_and_the_most_of_what_one_part_computes() -> None:
    parts = (PartMemory(name="a", bytes=5, peak_bytes=9), PartMemory(name="b", bytes=7, peak_bytes=8))
    assert Forecast(parts=parts, base_bytes=100).peak_bytes == 100 + 5 + 7 + 4
    assert Forecast(parts=parts, base_bytes=100, offload=True).peak_bytes == 100 + 9


def test_offloaded_one_of_two_experts_counts() -> None:
    experts = Experts(nn.Linear(10, 10), nn.Linear(10, 10), 500.0)
    assert [forecasts._size(experts, offload=offload) for offload in (False, True)] == [880, 440]


def test_more_pixels_and_more_pictures_at_once_take_more(sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 100 * GB)
    peaks = [
        looked(sd1, size=size, **options).forecast.peak_bytes
        for size, options in ((64, {}), (128, {}), (256, {}), (256, {"count": 4}), (256, {"count": 4, "batch_size": 8}))
    ]
    assert peaks[0] < peaks[1] < peaks[2] < peaks[3]
    assert peaks[3] == peaks[4]  # four are drawn at once either way


def test_what_does_not_fit_is_refused_before_it_is_loaded_with_what_would_fit(
    sd1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = parse({"prompt": "a tree", "model": str(sd1), "device": "cpu", "size": 64})
    limit(monkeypatch, 4 * GB)
    line = r"this takes about 4\.\d+ GB of memory and there is 4.00 GB: it would with --dtype bfloat16; --anyway tries"
    with pytest.raises(MachineError, match=line):
        prepare(request)
    assert prepare(request, anyway=True).plan.canvas.width == 64


def test_suggestions_are_of_what_can_be_made_smaller_and_all_fit(sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"dtype": "float32", "size": 512}
    limit(monkeypatch, 5.4 * GB)
    found = looked(sd1, **asked)
    assert not found.fits
    assert {one.split()[0] for one in found.suggestions} >= {"--offload", "--dtype", "--tile", "--size"}
    for one in found.suggestions:
        flag, _, value = one.removeprefix("--").partition(" ")
        assert looked(sd1, **(asked | {flag: value or True})).fits, one


def test_tries_run_a_network_once_for_all_that_are_alike(sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[object, ...]] = []
    forward = Unet.forward

    def counted(self: Unet, x: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        runs.append((x.shape, x.dtype))
        return forward(self, x, *given, **named)

    monkeypatch.setattr(Unet, "forward", counted)
    limit(monkeypatch, 5.4 * GB)
    found = looked(sd1, dtype="float32", size=512)
    assert any(one.startswith("--size") for one in found.suggestions)
    assert {dtype for _, dtype in runs} == {torch.float32, torch.bfloat16}
    assert len(runs) == len(set(runs))


def test_a_model_that_will_be_compiled_is_planned_before_it_is_loaded(sd1: Path) -> None:
    asked = parse({"prompt": "a tree", "model": str(sd1), "device": "cpu", "size": 64, "compiled": True})
    assert prepare(asked, anyway=True).plan.request.compiled


def test_a_compiled_model_that_does_not_fit_is_not_said_to_fit_offloaded(
    sd1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 4.5 * GB)
    assert "--offload" in looked(sd1, size=64).suggestions
    assert "--offload" not in looked(sd1, size=64, compiled=True).suggestions


def test_no_option_is_suggested_where_the_weights_alone_do_not_fit(sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 1 * GB)
    found = looked(sd1, size=64)
    assert found.suggestions == ()
    with pytest.raises(MachineError, match="no option changes that"):
        found.check()


def test_where_the_system_does_not_say_what_is_free_all_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlooks, "available", lambda _: None)
    assert looked().fits


def test_this_process_may_have_what_it_has_and_more() -> None:
    assert 50e6 < resident() < (available(torch.device("cpu")) or 0)


@pytest.mark.parametrize("files", ["v1", "v2"])
def test_the_limit_of_a_container_counts(files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scorefield.api import free_memory

    v1 = "/sys/fs/cgroup/memory/box/"
    texts = {
        "v1": {
            "/proc/self/cgroup": "4:cpu:/x\n3:memory:/box\n",
            f"{v1}memory.limit_in_bytes": "3000\n",
            f"{v1}memory.usage_in_bytes": "2000\n",
            f"{v1}memory.stat": "cache 9\ntotal_inactive_file 500\n",
        },
        "v2": {
            "/proc/self/cgroup": "0::/a/box\n",
            "/sys/fs/cgroup/a/box/memory.max": "max\n",
            "/sys/fs/cgroup/a/box/memory.current": "2000\n",
            "/sys/fs/cgroup/a/memory.max": "3000\n",
            "/sys/fs/cgroup/a/memory.current": "2000\n",
            "/sys/fs/cgroup/a/memory.stat": "inactive_file 500\n",
        },
    }[files]
    texts |= {"/proc/meminfo": "MemTotal: 99 kB\nMemAvailable: 50 kB\n", "/proc/self/statm": ""}
    monkeypatch.setattr(free_memory, "_read", lambda path: texts.get(str(path), ""))
    monkeypatch.setattr(free_memory, "resident", lambda: 100)
    assert available(torch.device("cpu")) == 1500 + 100
    texts["/proc/self/cgroup"] = ""
    assert available(torch.device("cpu")) == 50 * 1024 + 100


def ended(*command: str) -> tuple[str, int]:
    """The output of a command line, and the peak of its memory in bytes."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE, text=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
        "print(done.stdout)\n"
    )
    line = [sys.executable, "-c", code, sys.executable, "-m", "scorefield", *command, "--device", "cpu"]
    peak, _, text = subprocess.run(line, check=True, capture_output=True, text=True).stdout.partition("\n")
    return text, int(peak)


def assert_told(folder: Path, *options: str) -> None:
    """15 % is what the issue asks for."""
    told = json.loads(ended("plan", "a tree", *options, "--format", "json")[0])["peak_bytes"]
    _, peak = ended("generate", "a tree", *options, "--seed", "1", "--quiet", "--output", str(folder))
    assert told == pytest.approx(peak, rel=0.15)


@pytest.mark.parametrize("count", ["1", "16"])
def test_the_embedded_model_takes_what_was_told(count: str, tmp_path: Path) -> None:
    assert_told(tmp_path, "--steps", "1", "--count", count)


@pytest.mark.slow
def test_stable_diffusion_1_takes_what_was_told(sd1: Path, tmp_path: Path) -> None:
    assert_told(tmp_path, "--model", str(sd1), "--steps", "1", "--size", "256")
