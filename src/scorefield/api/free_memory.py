"""How much memory this process has, and may have."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch


class _Names(NamedTuple):
    """The files of control groups in one version of their interface."""

    root: Path
    limit: str
    usage: str
    dropped: str  # in memory.stat


_V1 = _Names(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file")
_IMPORTED = 300 << 20  # bytes: the package and torch, measured on Linux


def resident() -> int:
    """The memory of this process, in bytes; that of torch and its friends where the system does not say."""
    fields = _read("/proc/self/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else _IMPORTED


def available(device: torch.device) -> int | None:
    """How much memory this process may have on a device, what it has included, in bytes; None if nothing says so.

    On a CPU: what the system can give without swapping, or less if a control group (a container's limit) says so.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free = [_field("/proc/meminfo", "MemAvailable") or _physical(), *_control_groups()]
    known = [size for size in free if size is not None]
    return min(known) + resident() if known else None


def _physical() -> int | None:
    """All of the machine's memory, where nothing says how much is free."""
    names = getattr(os, "sysconf_names", {})
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in names else None


def _control_groups() -> Iterator[int]:
    """What the groups of this process leave of their limits; pages of files that can be dropped count as free."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        names = _V1 if kinds else _V2
        inner = names.root / group.lstrip("/")
        for folder in (one for one in (inner, *inner.parents) if one.is_relative_to(names.root)):
            most, used = _read(folder / names.limit).strip(), _read(folder / names.usage).strip()
            if most.isdigit() and used.isdigit():
                yield max(0, int(most) - int(used) + (_field(folder / "memory.stat", names.dropped, unit=1) or 0))


def _field(path: str | Path, name: str, unit: int = 1024) -> int | None:
    """The number after a name in a file of names and numbers."""
    for line in _read(path).splitlines():
        first, *rest = line.replace(":", " ").split()
        if first == name:
            return int(rest[0]) * unit
    return None


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
