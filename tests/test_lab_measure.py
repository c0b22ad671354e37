"""What several experiments of the plane share: the network learned once, and the measures."""

from collections.abc import Iterable
from pathlib import Path

import torch

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned
from scorefield.lab.experiment import T
from scorefield.lab.plane import levels
from scorefield.lab.plane.learn import Training, learned

SHORT = Training(steps=3, batch=16, width=8)


def seen(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    return items


def said(denoiser: Preconditioned) -> torch.Tensor:
    return denoiser(torch.ones(1, 2), levels.level(0.5), Cond())


def test_a_named_shape_is_learned_once_whoever_watches() -> None:
    assert learned("ring", SHORT, 5) is learned("ring", SHORT, 5, seen)
    assert learned("ring", SHORT, 5) is not learned("ring", SHORT, 6)
    assert learned("ring", SHORT, 5) is not learned("moons", SHORT, 5)


def test_a_file_is_learned_anew_when_its_points_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "spiral.csv"
    path.write_text("0,0\n1,1\n")
    before = said(learned(str(path), SHORT, 5))
    assert torch.equal(before, said(learned(str(path), SHORT, 5)))
    path.write_text("0,3\n1,1\n")
    assert not torch.equal(before, said(learned(str(path), SHORT, 5)))
