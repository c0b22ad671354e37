"""The child process for diffusers' network: `python -m scorefield.bench.theirs SETTING FOLDER`."""

import json
from pathlib import Path

import torch
from torch import Tensor

from scorefield.bench.child import Load, Peak, Step, prepared, serve
from scorefield.bench.subjects import SUBJECTS, Subject
from scorefield.bench.task import Setting

MISSING = "diffusers is not installed: pip install 'scorefield[bench]'"


def write_config(subject: Subject, folder: Path) -> None:
    """Write diffusers' config.json for the same network."""
    written = {"_class_name": subject.peer, **subject.peer_config}
    (folder / "config.json").write_text(json.dumps(written), encoding="utf-8")


def program() -> Load:
    """Import diffusers and return its loader."""
    try:
        import diffusers
    except ImportError:
        raise SystemExit(MISSING) from None

    def load(setting: Setting, folder: Path) -> tuple[Step, Peak]:
        subject = SUBJECTS[setting.model]
        net = getattr(diffusers, subject.peer).from_pretrained(folder, torch_dtype=setting.torch_dtype)
        net.to(setting.device).eval().requires_grad_(False)
        if setting.channels_last:
            net.to(memory_format=torch.channels_last)
        queries = [weight for name, weight in net.named_parameters() if name.endswith(subject.peer_queries)]
        run = prepared(net, setting)
        work = run if subject.peer_method == "forward" else getattr(run, subject.peer_method)

        def step(*given: Tensor) -> Tensor:
            made: Tensor = work(*given, return_dict=False)[0]
            return made

        def peak(factor: float) -> None:
            for weight in queries:
                weight *= factor

        return step, peak

    return load


if __name__ == "__main__":
    serve(program)
