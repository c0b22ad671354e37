"""README.md and docs/: every block of code runs, every link leads somewhere, every make target exists.

The blocks of one page run in order in one empty folder, the Python ones in one namespace. `<!-- slow -->` on the line
above a block leaves it to `make slow`; so does `<!-- clone -->`, which runs it in a fresh clone of the repository, as
somebody does who has nothing yet.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from scorefield.zoo import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALL_PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
SOURCES = [path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py"))]
RUN = {"python", "bash", "console"}
READ = {"text", "json", "toml"}
QUOTED = {"py"}  # of our own source, where it runs
BLOCK = re.compile(
    r"^(?:<!-- (?P<marker>\w+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """One fenced block and the line it starts on."""

    line: int
    language: str
    marker: str  # "", slow or clone
    code: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(text[: m.start("code")].count("\n") + 1, m["language"], m["marker"] or "", m["code"])
        for m in BLOCK.finditer(text)
    ]


def commands(block: Block) -> str:
    """The shell commands of a block: all of `bash`, the lines after `$ ` of `console`."""
    if block.language == "bash":
        return block.code
    return "\n".join(line[2:] for line in block.code.splitlines() if line.startswith("$ "))


def run(page: Path, chosen: list[Block], folder: Path) -> None:
    """Run blocks in order in `folder`; an error names the page and the line."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in chosen:
        place = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
        elif block.marker == "clone":
            clone = folder / f"clone_{block.line}"
            subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
            _shell(commands(block), clone, place, without=Path(sys.prefix))
        else:
            _shell(commands(block), folder, place)


def _shell(code: str, folder: Path, place: str, without: Path | None = None) -> None:
    here = str(Path(sys.executable).parent)  # where this environment's `scorefield` is
    rest = [
        part
        for part in os.environ["PATH"].split(os.pathsep)
        if without is None or not Path(part).is_relative_to(without)
    ]
    path = os.pathsep.join(rest if without else [here, *rest])
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, f"{place} ended with {done.returncode}\n{code}\n{done.stdout}\n{done.stderr}"


def having(slow: bool) -> list[Path]:
    """The pages with blocks to run, slow ones or others."""
    return [p for p in PAGES if any(b.language in RUN and bool(b.marker) == slow for b in blocks(p.read_text("utf-8")))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(autouse=True)
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that a page registers is forgotten after it."""
    monkeypatch.setattr(registry, "FAMILIES", list(registry.FAMILIES))


@pytest.mark.parametrize("page", having(slow=False), ids=name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run(page, [b for b in blocks(page.read_text("utf-8")) if b.language in RUN and not b.marker], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", having(slow=True), ids=name)
def test_the_blocks_of_a_page_run_with_the_slow_ones(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run(page, [b for b in blocks(page.read_text("utf-8")) if b.language in RUN], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_block_escapes(page: Path) -> None:
    text = page.read_text("utf-8")
    fences = re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)
    assert len(fences) == 2 * len(blocks(text)), "a fence is indented, of tildes, or never closed"
    assert {b.language for b in blocks(text)} <= RUN | READ | QUOTED
    assert {b.marker for b in blocks(text)} <= {"", "slow", "clone"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_quoted_block_is_the_source_of_today(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language in QUOTED:
            assert any(block.code.strip() in source for source in SOURCES), f"{block.code[:60]!r} is nowhere in src"


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = [
        f"{path}#{heading}"
        for path, heading in links(page)
        if not path.exists() or (heading and heading not in anchors(path))
    ]
    assert not missing, f"{page.relative_to(ROOT)} links to what is not there: {missing}"


def test_every_page_is_reached_from_the_readme_and_named_in_the_index() -> None:
    found, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        found.add(page)
        ahead += [path for path, _ in links(page) if path.suffix == ".md" and path not in found]
    assert not set(PAGES) - found, "no page links to these"
    indexed = {path for path, _ in links(ROOT / "docs" / "README.md")}
    assert not set((ROOT / "docs").glob("*.md")) - indexed - {ROOT / "docs" / "README.md"}, "the index lacks these"


def links(page: Path) -> list[tuple[Path, str]]:
    """The local links of a page: what each leads to, and the heading there."""
    found = re.findall(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"", BLOCK.sub("", page.read_text("utf-8")))
    local = [link for pair in found for link in pair if link and not re.match(r"https?://|mailto:", link)]
    parts = [link.partition("#") for link in local]
    return [((page.parent / path).resolve() if path else page, heading) for path, _, heading in parts]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_a_failing_block_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"README.md:3 ended with 1"):
        run(ROOT / "README.md", blocks("\n```bash\nfalse\ntrue\n```\n"), tmp_path)
    with pytest.raises(ZeroDivisionError):
        run(ROOT / "README.md", blocks("```python\nx = 0\n```\n\n```python\n1 / x\n```\n"), tmp_path)
    with pytest.raises(AssertionError, match=r"README.md:3 ended with 3"):
        run(ROOT / "README.md", blocks("<!-- slow -->\n```console\n$ exit 3\nnot a command\n```\n"), tmp_path)
