"""What importing the house does besides: nothing. Each case runs in an interpreter of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# Imports every module below a folder and prints what the modules themselves, not the libraries they import, did:
# the frames between an event and the nearest import statement say whose doing it is. A library that is called may look
# at its own variables (pydantic does for every class), so reading the environment is the deed of who reads it.
WATCH = r"""
import importlib, os, pkgutil, sys
home = sys.argv[1]
found = []

def ours(direct=False):
    frame = sys._getframe(2)
    while frame and "importlib._bootstrap" not in (file := frame.f_code.co_filename):
        if file.startswith(home):
            return f"{os.path.relpath(file, home)}:{frame.f_lineno}"
        if direct and "site-packages" in file:
            return None
        frame = frame.f_back
    return None

def event(name, arguments):
    writes = name == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    room, _, act = name.partition(".")
    changes = room == "os" and act in {"mkdir", "rename", "remove", "rmdir", "putenv", "unsetenv", "system"}
    if writes or changes or room in {"socket", "subprocess", "shutil", "urllib"}:
        if place := ours():
            found.append(f"{place} {name}")

class Environment(os._Environ):
    def __getitem__(self, key):
        if place := ours(direct=True):
            found.append(f"{place} reads the environment")
        return super().__getitem__(key)

import torch
random, settings = torch.get_rng_state(), (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
before = os.environ
os.environ = Environment(before._data, before.encodekey, before.decodekey, before.encodevalue, before.decodevalue)
for query in ("is_available", "device_count"):
    def asked(query=query, answer=getattr(torch.cuda, query)):
        if place := ours():
            found.append(f"{place} touches a device")
        return answer()
    setattr(torch.cuda, query, asked)
sys.addaudithook(event)
names = [top.name for top in pkgutil.iter_modules([home])]
for name in names:
    module = importlib.import_module(name)
    for below in pkgutil.walk_packages(module.__path__, f"{name}."):
        importlib.import_module(below.name)
assert not torch.cuda.is_initialized(), "a device was initialised"
assert torch.equal(random, torch.get_rng_state()), "a random number was drawn"
assert settings == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()), "a setting changed"
print(len([name for name in sys.modules if name.split(".")[0] in names]), *found, sep="\n")
"""


def watch(home: Path, folder: Path) -> tuple[int, list[str]]:
    """The number of modules below `home` that were imported, and what they did."""
    command = [sys.executable, "-B", "-c", WATCH, str(home)]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, *found = done.stdout.splitlines()
    return int(count), found


def test_importing_every_module_has_no_side_effects(tmp_path: Path) -> None:
    count, found = watch(SOURCE, tmp_path)
    packages = {path.parent for path in SOURCE.rglob("*.py")}
    assert all((package / "__init__.py").exists() for package in packages), "a folder without __init__.py is not seen"
    assert count == len(list(SOURCE.rglob("*.py")))
    assert found == []
    assert list(tmp_path.iterdir()) == []


RUDE = {
    "import os; os.makedirs('made')": "os.mkdir",
    "from pathlib import Path; Path('made_too').mkdir()": "os.mkdir",
    "open('made', 'w').close()": "open",
    "import os; os.environ.get('HOME')": "reads the environment",
    "import os; os.getenv('HOME')": "reads the environment",
    "import os; 'HOME' in os.environ": "reads the environment",
    "import os; os.environ['SEEN'] = '1'": "os.putenv",
    "import torch; torch.cuda.is_available()": "touches a device",
    "import subprocess; subprocess.run(['true'])": "subprocess.Popen",
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is seen of a package with one module a line of RUDE."""
    folder = tmp_path_factory.mktemp("rude")
    package = folder / "home" / "rude"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for number, line in enumerate(RUDE):
        (package / f"m{number}.py").write_text(f"{line}\n".replace("'made'", f"'made{number}'"))
    return watch(package.parent, folder)[1]


@pytest.mark.parametrize(("number", "deed"), list(enumerate(RUDE.values())), ids=RUDE)
def test_a_side_effect_is_seen(number: int, deed: str, seen: list[str]) -> None:
    assert any(found.startswith(f"rude/m{number}.py:1") and deed in found for found in seen), seen
