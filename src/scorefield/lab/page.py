"""Build the pages of the lab from results: the prose, claim, numbers, figure and code of every experiment."""

import base64
import html
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

from scorefield import atomic
from scorefield.lab.experiment import Experiment, Result, Settings
from scorefield.lab.names import EXPERIMENTS
from scorefield.lab.record import ANIMATION, FIGURE, Record, load

Some = Experiment[Settings, Result]

_LOOK = """
body { font: 17px/1.55 system-ui, sans-serif; color: #222; max-width: 800px; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3.5rem; border-top: 1px solid #ddd; padding-top: 2rem; }
nav { display: flex; flex-wrap: wrap; gap: 0 .9em; } nav a { white-space: nowrap; }
pre { background: #f5f5f3; padding: .8em 1em; overflow-x: auto; font-size: 13.5px; line-height: 1.45; }
img, video { max-width: 100%; display: block; margin: 1em auto; } table { border-collapse: collapse; font-size: 15px; }
td, th { padding: .25em .9em .25em 0; text-align: left; border-bottom: 1px solid #e5e5e5; }
.held { color: #00664b; } .failed { color: #a33b00; } summary { cursor: pointer; margin: 1em 0; }
"""


def prose(experiment: Some) -> str:
    """The description of an experiment, its module docstring: paragraphs, and formulas indented by four spaces."""
    return inspect.cleandoc(sys.modules[experiment.run.__module__].__doc__ or "")


def code(experiment: Some) -> str:
    """The code that matters: the function that runs it."""
    return inspect.getsource(experiment.run).rstrip()


def blocks(text: str) -> list[tuple[bool, str]]:
    """(is formula, text) for each paragraph; a plain paragraph is joined to one line."""
    parts = [part for part in text.split("\n\n") if part.strip()]
    return [(part.startswith("    "), part if part.startswith("    ") else " ".join(part.split())) for part in parts]


def verdict(record: Record) -> str:
    """The verdict in words."""
    if record.held:
        return "The claim held."
    return f"The claim did not hold. {record.reason or 'The reason is not known yet.'}"


def _words(number: str) -> str:
    return number.replace("_", " ")


def _yes(held: bool) -> str:
    return "yes" if held else "no"


def markdown(experiment: Some, record: Record) -> str:
    """The documentation page of one experiment; its figure is in images/."""
    title, *rest = blocks(prose(experiment))
    lines = [f"# {experiment.name}: {title[1]}", ""]
    for is_formula, text in rest:
        lines += ["```text", inspect.cleandoc(text), "```", ""] if is_formula else [text, ""]
    lines += [f"![{experiment.claim}](images/{experiment.name}.png)", ""]
    lines += [f"**Claim.** {record.claim} **{verdict(record)}**", ""]
    lines += ["| number | measured | stated before the run | |", "|---|---|---|---|"]
    lines += [
        f"| {_words(one.number)} | {one.value:.4g} | {one.relation} {one.bound:g} | {_yes(one.held)} |"
        for one in record.criterion
    ]
    stated = {one.number for one in record.criterion}
    lines += [f"| {_words(k)} | {v:.4g} | | |" for k, v in record.numbers.items() if k not in stated]
    settings = ", ".join(f"`{name}={value}`" for name, value in record.settings.items())
    lines += ["", f"`scorefield lab {experiment.name}` with the settings {settings}.", ""]
    lines += [f"The same command draws an animation, `{ANIMATION}.mp4`.", ""] if experiment.animate else []
    lines += ["The code that matters:", "", "```py", code(experiment), "```", ""]
    return "\n".join(lines)


def contents(records: Mapping[str, Record]) -> str:
    """The index page of the lab: every experiment with its claim and verdict."""
    held = sum(record.held for record in records.values())
    lines = [
        "# The lab",
        "",
        "Common claims about diffusion as experiments to run, change and check. Each states a claim and the",
        f"numbers that would refute it, before it runs. Of {len(records)} claims {held} held when this was built.",
        "",
        "`scorefield lab` lists them, `scorefield lab NAME` runs one, `scorefield lab --all` runs all and builds one",
        "page. In Python, `sf.lab.walk(steps=50)` returns an outcome with `numbers`, `held` and `figure`. What a run",
        "writes to `result.json` is described by [its schema](result.schema.json).",
        "",
        "| experiment | claim | held |",
        "|---|---|---|",
    ]
    lines += [f"| [{name}]({name}.md) | {one.claim} | {_yes(one.held)} |" for name, one in records.items()]
    return "\n".join([*lines, ""])


def build(folder: Path) -> Path:
    """Write one offline page with all results in `folder`, figures and animations included; returns its path."""
    found = [(one, held) for name, one in EXPERIMENTS.items() if (held := load(folder / name))]
    links = "".join(f'<a href="#{one.name}">{one.name}</a>' for one, _ in found)
    count = sum(record.held for _, record in found)
    body = "".join(_section(one, record, folder / one.name) for one, record in found)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>The scorefield lab</title><style>{_LOOK}</style><h1>The scorefield lab</h1>"
        f"<p>{len(found)} claims about diffusion, each with numbers stated before the run; {count} of them held.</p>"
        f"<nav>{links}</nav>{body}</html>"
    )
    names = iter([folder / "index.html"])
    return atomic.write(page.encode(), names, overwrite=True)


def _section(experiment: Some, record: Record, folder: Path) -> str:
    title, *rest = blocks(prose(experiment))
    text = "".join(
        f"<pre>{html.escape(inspect.cleandoc(part))}</pre>" if is_formula else f"<p>{html.escape(part)}</p>"
        for is_formula, part in rest
    )
    rows = "".join(
        f"<tr><td>{_words(one.number)}<td>{one.value:.4g}<td>{html.escape(one.relation)} {one.bound:g}"
        f"<td>{_yes(one.held)}"
        for one in record.criterion
    )
    mark = "held" if record.held else "failed"
    return (
        f'<h2 id="{experiment.name}">{experiment.name}: {html.escape(title[1])}</h2>{text}'
        f"{_media(folder)}<p><b>Claim.</b> {html.escape(record.claim)} "
        f'<b class="{mark}">{html.escape(verdict(record))}</b></p>'
        f"<table><tr><th>number<th>measured<th>stated<th>{rows}</table>"
        f"<details><summary>The code that matters</summary><pre>{html.escape(code(experiment))}</pre></details>"
    )


def _media(folder: Path) -> str:
    shown = f'<img alt="figure" src="{_inline(folder / FIGURE, "image/png")}">'
    if (animation := folder / f"{ANIMATION}.mp4").exists():
        shown += f'<video controls loop muted playsinline src="{_inline(animation, "video/mp4")}"></video>'
    elif (animation := folder / f"{ANIMATION}.gif").exists():
        shown += f'<img alt="animation" src="{_inline(animation, "image/gif")}">'
    return shown


def _inline(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
