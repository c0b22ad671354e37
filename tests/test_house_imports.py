"""Who may import whom: the table of CONTRIBUTING.md against the syntax tree of every module."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = "scorefield"
EVERYWHERE = {"errors", "notes", "atomic", "printable", "input_files", "disk_cache"}  # the ground
LAZY = {"__init__", "cli"}  # the faces, which import at function level
SHARED_NAMES = {  # files of one name in two rooms, and why
    "replay.py": "the command, and the work that it runs",
    "convert.py": "the command, and the work that it runs",
}
HIDDEN = "?"  # the target of an import whose name is computed
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Row(NamedTuple):
    """One line of the table; None stands for anything."""

    ours: frozenset[str] | None
    libraries: frozenset[str] | None


class Import(NamedTuple):
    """One imported module and how it is imported."""

    line: int
    target: str  # dotted
    in_function: bool
    guarded: bool  # inside a try that catches ImportError


def table() -> dict[str, Row]:
    """room -> what it may import, as written in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("<!-- import table -->")[1].split("<!-- end of table -->")[0]
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in section.strip().splitlines()]
    return {room.strip("`"): Row(_names(ours), _names(libraries)) for room, ours, libraries in lines[2:]}


def _names(cell: str) -> frozenset[str] | None:
    if cell == "anything":
        return None
    return frozenset() if cell == "nothing" else frozenset(re.findall(r"`([\w.]+)`", cell))


def optional() -> frozenset[str]:
    """The libraries that only an extra installs; those of `test` are not for the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [line for name, extra in extras.items() if name not in {"test", "dev"} for line in extra]
    return frozenset(re.split(r"[<>=!~\[; ]", line)[0] for line in lines)


def imports(source: str, modules: frozenset[str]) -> Iterator[Import]:
    """Every import statement of `source`; `modules` tells a submodule from a name inside a module."""

    def walk(node: ast.AST, in_function: bool, guarded: bool) -> Iterator[Import]:
        in_function = in_function or isinstance(node, FUNCTIONS)
        for target in _targets(node, modules):
            yield Import(node.lineno, target, in_function, guarded)
        for child in ast.iter_child_nodes(node):
            inside = isinstance(node, ast.Try) and child in node.body and any(map(_catches, node.handlers))
            yield from walk(child, in_function, guarded or inside)

    yield from walk(ast.parse(source), in_function=False, guarded=False)


def _targets(node: ast.AST, modules: frozenset[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        full = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        return [name if name in modules or node.level else name.rpartition(".")[0] for name in full]
    named = isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", ""))
    if named not in {"import_module", "__import__"}:
        return []
    name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else HIDDEN
    return [str(name)]


def _catches(handler: ast.ExceptHandler) -> bool:
    caught = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else set()
    return bool(caught & {"ImportError", "ModuleNotFoundError"})


def complaints(room: str, source: str, rows: dict[str, Row], modules: frozenset[str]) -> list[str]:
    """What `source`, a module of `room`, imports against the rules; empty is good."""
    row, found = rows[room], []
    for one in imports(source, modules):
        top, _, rest = one.target.partition(".")
        if one.target.startswith("."):
            found.append(f"line {one.line}: a relative import; write the whole name")
        elif one.target == HIDDEN:
            if room not in LAZY:
                found.append(f"line {one.line}: a computed name hides an import from readers and tools")
            continue
        elif top == PACKAGE:
            if not _allowed(rest, room, row.ours):
                found.append(f"line {one.line}: {room} may not import {one.target}")
        elif top not in sys.stdlib_module_names and row.libraries is not None and top not in row.libraries:
            found.append(f"line {one.line}: {room} may not import the library {top}")
        excused = room in LAZY or (one.guarded and top in optional())
        if one.in_function and not excused:
            found.append(f"line {one.line}: {one.target} is imported inside a function")
    return found


def _allowed(target: str, room: str, ours: frozenset[str] | None) -> bool:
    if target == "":  # the package itself, for its version
        return True
    return ours is None or any(target == name or target.startswith(f"{name}.") for name in ours | EVERYWHERE | {room})


def room_of(module: Path) -> str:
    """The first part of a module's path inside the package: a folder, or a file of its own."""
    return module.relative_to(SOURCE / PACKAGE).parts[0].removesuffix(".py")


def dotted(module: Path) -> str:
    """src/scorefield/core/level.py -> scorefield.core.level"""
    return ".".join(module.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = sorted((SOURCE / PACKAGE).rglob("*.py"))
NAMES = frozenset(map(dotted, MODULES))


@pytest.mark.parametrize("module", MODULES, ids=dotted)
def test_a_module_imports_only_what_the_table_allows(module: Path) -> None:
    found = complaints(room_of(module), module.read_text(encoding="utf-8"), table(), NAMES)
    assert not found, f"{module.relative_to(ROOT)}: " + "; ".join(found)


def test_the_table_and_the_house_have_the_same_rooms() -> None:
    assert set(table()) == {room_of(module) for module in MODULES}


def test_no_two_files_have_one_name() -> None:
    """A file's name says what is in it without its folder. A new family may use the file names of another."""
    places: dict[str, set[str]] = {}
    for module in MODULES:
        inside = module.relative_to(SOURCE / PACKAGE)
        place = "families" if inside.parts[0] == "families" else str(inside.parent)
        places.setdefault(inside.name, set()).add(place)
    shared = {name for name, folders in places.items() if len(folders) > 1} - {"__init__.py"}
    assert shared == SHARED_NAMES.keys()


def test_the_arrows_of_the_table_only_point_down() -> None:
    rows = {room: {name.split(".")[0] for name in row.ours or ()} for room, row in table().items()}
    while floor := {room for room, below in rows.items() if not below}:  # take the ground floor away, again and again
        rows = {room: below - floor for room, below in rows.items() if room not in floor}
    assert not rows, f"these rooms import each other in a circle: {sorted(rows)}"


@pytest.mark.parametrize(
    ("room", "source", "complaint"),
    [
        ("core", "import numpy", "may not import the library numpy"),
        ("core", "from scorefield.sample import step", "core may not import scorefield.sample"),
        ("core", "from scorefield import nets", "core may not import scorefield.nets"),
        ("core", "if x:\n    import scorefield.api", "core may not import scorefield.api"),
        ("core", "from .level import Level", "a relative import"),
        ("core", "def f():\n    import math", "math is imported inside a function"),
        ("core", "import importlib\nimportlib.import_module(name)", "hides an import"),
        ("core", "import importlib\nimportlib.import_module('scorefield.api')", "core may not import scorefield.api"),
        ("prompt", "from scorefield.core.level import Level", "prompt may not import scorefield.core.level"),
        ("prompt", "from scorefield.core import level", "prompt may not import scorefield.core.level"),
        ("files", "def f():\n    import av", "av is imported inside a function"),
        ("files", "def f():\n    try:\n        import PIL\n    except ImportError: ...", "PIL is imported inside"),
    ],
)
def test_a_breach_is_seen(room: str, source: str, complaint: str) -> None:
    assert complaint in " ".join(
        complaints(room, source, table(), NAMES | {"scorefield.core.level", "scorefield.nets"})
    )


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("core", "import math, torch\nfrom scorefield.core.level import Level"),
        ("prompt", "from scorefield.core.cond import Cond, drop"),
        ("prompt", "from scorefield.core import cond"),
        ("files", "def f():\n    try:\n        import av\n    except ImportError as error:\n        raise"),
        (
            "files",
            "def f():\n    try:\n        return import_module('av')\n    except ImportError as error:\n        raise",
        ),
        ("cli", "def f():\n    from scorefield.api import load"),
        ("api", "from scorefield import __version__"),
    ],
)
def test_what_the_rules_allow_passes(room: str, source: str) -> None:
    assert complaints(room, source, table(), NAMES | {"scorefield.core.cond"}) == []
