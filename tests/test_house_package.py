"""What is handed to others: a wheel with all it needs, a front door with the promised names."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import scorefield

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(zipfile.ZipFile(folder / done.stdout.split()[-1]).namelist())


def test_the_wheel_holds_every_module_and_asset(wheel: set[str]) -> None:
    source = ROOT / "src"
    files = {p.relative_to(source).as_posix() for p in (source / "scorefield").rglob("*") if p.is_file()}
    here = {name for name in files if "__pycache__" not in name}
    assert "scorefield/py.typed" in here
    assert any(name.startswith("scorefield/assets/") for name in here)
    assert here <= wheel


def test_the_wheel_carries_licence_and_notice(wheel: set[str]) -> None:
    folder = f"scorefield-{scorefield.__version__}.dist-info"
    assert {f"{folder}/licenses/LICENSE", f"{folder}/licenses/NOTICE"} <= wheel


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel} == {"scorefield", f"scorefield-{scorefield.__version__}.dist-info"}


def test_the_front_door_opens_to_every_promised_name() -> None:
    assert set(scorefield.__all__) <= set(dir(scorefield))
    for name in scorefield.__all__:
        assert getattr(scorefield, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        scorefield.lod  # noqa: B018 - to look it up is the test


def test_every_dependency_is_pinned_to_what_the_suite_runs_with() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {line.partition("==")[0] for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {line.partition(">")[0] for line in wanted if not line.startswith("scorefield[")}
    assert names <= pins
