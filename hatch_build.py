"""Compiles the attention kernel while the package is installed; without a compiler it is installed without it."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path(__file__).parent / "src" / "scorefield" / "nets" / "attention_cpu.c"


def compiled(source: Path) -> Path | None:
    """The library built beside `source`; None where no kernel can be made."""
    library = source.with_suffix(".so.1")
    compiler = next(filter(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")), None)
    if sys.platform == "linux" and platform.machine() == "x86_64" and compiler:
        made = library.with_name(f"{library.name}.{os.getpid()}")
        command = [compiler, "-O3", "-fPIC", "-shared", str(source), "-o", str(made), "-lm"]
        if not subprocess.run(command, capture_output=True).returncode:
            return made.replace(library)
        made.unlink(missing_ok=True)  # a compiler too old for the instructions: that costs speed alone
    library.unlink(missing_ok=True)
    return None


class Kernel(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the kernel into wheels and beside the source of editable installs; such a wheel is for one platform."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        if self.target_name == "wheel" and compiled(SOURCE):
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
