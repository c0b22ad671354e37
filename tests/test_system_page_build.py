"""The page's built files are what its sources give, byte for byte, anywhere: `make system`, with Node and npm."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[1]
BUILT = Path("src/scorefield/server/page")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def npm(folder: Path, *arguments: str) -> None:
    program = shutil.which("npm")
    assert program, "this test needs Node 20.19 or newer with npm"
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_gives_the_same_bytes_again(tmp_path: Path) -> None:
    sources = tmp_path / "page"
    shutil.copytree(ROOT / "page", sources, ignore=shutil.ignore_patterns("node_modules"))
    npm(sources, "ci")
    npm(sources, "run", "check")
    npm(sources, "run", "build")
    built, committed = files(tmp_path / BUILT), files(ROOT / BUILT)
    assert built.keys() == committed.keys()
    assert [name for name, data in built.items() if data != committed[name]] == []


def test_the_lock_file_names_no_private_registry() -> None:
    lock = json.loads((ROOT / "page" / "package-lock.json").read_text("utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    for name, one in packages.items():
        assert one["integrity"].startswith("sha512-"), name
        assert re.match(r"https://registry\.npmjs\.org/", one.get("resolved", "https://registry.npmjs.org/")), name
