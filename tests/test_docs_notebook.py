"""The notebook that takes Stable Diffusion apart: it runs on small random weights, and its assertions can fail."""

import json
import linecache
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from docs.notebooks.tiny_stable import tiny_stable

PATH = Path(__file__).parents[1] / "docs" / "notebooks" / "stable-diffusion.ipynb"
BOOK: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
SETTINGS = {"SCOREFIELD_SIDE": "64", "SCOREFIELD_STEPS": "10"}

# Sections, a piece of the code of each, and what breaks it.
BROKEN = [
    ("S1", "seen = x / sqrt(sigma**2 + 1)", "seen = x"),
    ("S2", "latents = codec.encode(pixels)", "latents = codec.encode(pixels) / 0.18215"),
    ("S3", "0.00085**0.5", "0.0009**0.5"),
    ("S4", "model.stages[0].spec.prediction(at).c_in", "1.0"),
    ("S5", "strength=STRENGTH", "strength=0.5"),
    ("S6", ".triu(1)", ".triu(2)"),
    ("S7", 'surgery.rows(conditioner, "cat")', 'surgery.rows(conditioner, "puppy")'),
    ("S8", "lr=5e-3", "lr=0.0"),
    ("S8", "torch.save(learned,", "torch.save({'<night>': -learned['<night>']},"),
    ("S9", "between(mouse, leopard, shares)", "between(leopard, mouse, shares)"),
    ("S10", "(without + SCALE * (toward - without))", "toward"),
    ("S11", "expected = u + 8 * (t - u)", "expected = t + 8 * (t - u)"),
    ("S12", "asked.append(at)", "asked[:] = [at]"),
    ("S13", "rate * (at.sigma - to.sigma)", "rate * at.sigma"),
    ("S14", "leaf - (x - believed(x, at)).detach()", "leaf"),
]  # fmt: skip


def sections() -> dict[str, list[str]]:
    """The code of each section's cells, by what its heading begins with; of what stands before them, by ""."""
    found: dict[str, list[str]] = {"": []}
    for cell in BOOK["cells"]:
        text = "".join(cell["source"])
        if heading := re.match(r"## ([^.:]+)", text):
            found[heading[1]] = []
        if cell["cell_type"] == "code":
            found[list(found)[-1]].append(text)
    return found


class Shown:
    """What stands in place of the screen: it counts the figures."""

    def __init__(self) -> None:
        self.figures = 0

    def __call__(self) -> None:
        self.figures += len(plt.get_fignums())
        plt.close("all")


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A folder of the notebook's own with a small checkpoint, and a screen that shows nothing."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("SCOREFIELD_MODEL", str(tiny_stable(folder / "tiny")))
        shown = Shown()
        patch.setattr(plt, "show", shown)
        yield shown


def run(cells: list[str], namespace: dict[str, object]) -> None:
    for code in cells:
        name = f"<cell {code[:40]!r}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # for the lines of a traceback
        exec(compile(code, name, "exec"), namespace)


@pytest.fixture(scope="module")
def namespaces(screen: Shown) -> dict[str, dict[str, object]]:
    """All cells run in order in one namespace: what it was before each section."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    before = {}
    for name, cells in sections().items():
        before[name] = dict(namespace)
        figures = screen.figures
        run(cells, namespace)
        assert screen.figures > figures or name in ("", "S4"), f"{name} shows nothing"
    return before


pytestmark = pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning", "ignore:plotting with agg")


def test_every_cell_runs_in_order(namespaces: dict[str, dict[str, object]]) -> None:
    assert Path("walk.mp4").stat().st_size > 0


@pytest.mark.parametrize(("section", "right", "wrong"), BROKEN)
def test_the_assertion_of_a_section_fails_where_its_code_is_broken(
    section: str, right: str, wrong: str, namespaces: dict[str, dict[str, object]]
) -> None:
    cells = sections()[section]
    assert sum(cell.count(right) for cell in cells) == 1
    with pytest.raises(AssertionError):
        run([cell.replace(right, wrong) for cell in cells], dict(namespaces[section]))


def test_all_fourteen_points_have_a_section_that_ends_in_an_assertion() -> None:
    found = sections()
    assert list(found)[1:15] == [f"S{k}" for k in range(1, 15)]
    assert {section for section, _, _ in BROKEN} == set(list(found)[1:15])
    for name in list(found)[1:]:
        assert "\nassert " in f"\n{found[name][-1]}" or "    assert " in found[name][-1], name


def test_it_is_committed_without_outputs_and_as_its_format_wants_it() -> None:
    assert (BOOK["nbformat"], BOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in BOOK["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in BOOK["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert (cell.get("outputs", []), cell.get("execution_count")) == ([], None)
        assert cell["source"]
