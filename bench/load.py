"""Measure the time to load a checkpoint, the time to read its bytes, and the peak memory.

python bench/load.py --stored float32 --dtype bfloat16 --threads 1 --cold

Writes a random Stable Diffusion of the published size, as one file, to a temporary folder. With --cold (root on Linux)
the page cache is emptied before each reading; without, the file is in memory and the disk is not read.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from scorefield.families.stable_diffusion.specs import NETWORKS
from scorefield.nets.clip import TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import Unet
from scorefield.weights.detect.identity import Family
from scorefield.weights.key_map import under, views
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys
from scorefield.weights.safetensors_file import Planned, saving

_LOAD = """
import resource, sys, time, torch
import scorefield
from pathlib import Path
path, dtype, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, work = time.perf_counter(), time.process_time()
scorefield.load(str(path), device="cpu", dtype=dtype, prediction="eps")
seconds, work = time.perf_counter() - start, time.process_time() - work
print(seconds, work, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
_READ = """
import sys, time
start, work = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb", buffering=0) as stream:
    held = bytearray(8 << 20)
    while stream.readinto(held):
        pass
print(time.perf_counter() - start, time.process_time() - work, 0)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--family", choices=["1", "2"], default="1")
    options.add_argument("--stored", choices=["float32", "float16"], default="float32")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="the dtype to load")
    options.add_argument("--threads", type=int, default=1, help="cores for reading and for loading")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--cold", action="store_true", help="empty the page cache before each reading")
    options.add_argument("--folder", type=Path, help="a folder with room for the file")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "model.safetensors"
        write(path, Family.SD1 if given.family == "1" else Family.SD2, getattr(torch, given.stored))
        found = {"bytes": path.stat().st_size, **vars(given), "folder": None, "read": [], "load": [], "peak": []}
        found |= {"read_cpu": [], "load_cpu": []}
        for _ in range(given.repeats):
            for what, code, words in (("read", _READ, []), ("load", _LOAD, [given.dtype, str(given.threads)])):
                if given.cold:
                    subprocess.run(["sync"], check=True)
                    Path("/proc/sys/vm/drop_caches").write_text("3")
                seconds, work, peak = run(code, [str(path), *words], given.threads)
                found[what].append(round(seconds, 2))
                found[f"{what}_cpu"].append(round(work, 2))
                if what == "load":
                    found["peak"].append(int(peak))
    found["ratio"] = round(min(found["load"]) / min(found["read"]), 2)
    print(json.dumps(found))


def run(code: str, words: list[str], threads: int) -> tuple[float, float, float]:
    """Run code in a new process on the first cores: the elapsed and processor seconds and the bytes that it prints."""
    cores = ["taskset", "-c", f"0-{threads - 1}"] if sys.platform == "linux" else []
    done = subprocess.run([*cores, sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    seconds, work, peak = map(float, done.stdout.split())
    return seconds, work, peak


def write(path: Path, family: Family, dtype: torch.dtype) -> None:
    """Write a file with every tensor of the family's networks, filled with random numbers."""
    networks = NETWORKS[family]
    text = networks.openclip or networks.text
    names = (
        clip_keys.transformers_text(text.text, projected=False)
        if networks.openclip is None
        else clip_keys.openai_text(text.text)
    )
    where = "cond_stage_model.transformer." if networks.openclip is None else "cond_stage_model.model."
    with torch.device("meta"):
        parts = (
            (unet_keys.ldm(networks.unet), "model.diffusion_model.", Unet(networks.unet)),
            (kl_keys.ldm(networks.kl), "first_stage_model.", Kl(networks.kl)),
            (names, where, TextEncoder(text)),
        )
    wanted: dict[str, Tensor] = {}
    for entries, prefix, net in parts:
        wanted |= views(list(under("", prefix, entries)), net.state_dict())
    planned = {name: Planned(dtype, tuple(place.shape)) for name, place in wanted.items()}

    def drawn() -> Iterator[tuple[str, Tensor]]:
        for name, one in planned.items():
            yield name, torch.randn(one.shape).to(dtype)

    for _ in saving(path, planned, drawn(), {"format": "pt"}):
        pass


if __name__ == "__main__":
    main()
