"""The child process for our network: `python -m scorefield.bench.ours SETTING FOLDER`."""

from pathlib import Path

import torch

from scorefield.bench.child import Peak, Step, prepared, serve
from scorefield.bench.subjects import SUBJECTS
from scorefield.bench.task import Setting
from scorefield.families.fill import Filling
from scorefield.model.system import Place
from scorefield.nets.packed import numbered, pack, unpack
from scorefield.weights.checkpoint import Reader


def load(setting: Setting, folder: Path) -> tuple[Step, Peak]:
    """Load our network from the folder's weights."""
    subject, source = SUBJECTS[setting.model], Reader(folder)
    fill = Filling(Place(device=torch.device(setting.device), dtype=setting.torch_dtype))
    net = fill(subject.build, subject.part, subject.entries, source, source.tensors)
    numbered(net)

    def peak(factor: float) -> None:
        unpack(net)
        for weight in subject.queries(net):
            weight.mul_(factor)
        pack(net)

    return subject.step(prepared(net, setting)), peak


if __name__ == "__main__":
    serve(lambda: load)
