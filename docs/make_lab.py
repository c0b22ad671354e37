"""Build docs/lab from a folder of results. Run: `scorefield lab --all --output DIR; python docs/make_lab.py DIR`."""

import argparse
import json
import re
from pathlib import Path

from PIL import Image

from scorefield.lab import EXPERIMENTS, page, record

LAB = Path(__file__).parent / "lab"
TUNING = "families-tuning.md"  # written by tune_families.py, not from a result
COLOURS = 255  # of a figure's palette: a quarter of the size, and no visible difference


def small(source: Path, target: Path) -> None:
    """Write the figure with a palette chosen from its colours."""
    with Image.open(source) as figure:
        palette = figure.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(target, "PNG", optimize=True)


def linked(text: str) -> str:
    """The text of a page with links to the pages of docs/lab that it names."""
    return re.sub(r"\bdocs/lab/([\w-]+\.md)", r"[\1](\1)", text)


def pages(records: dict[str, record.Record]) -> dict[str, str]:
    """Every text file of docs/lab, by name."""
    made = {f"{name}.md": linked(page.markdown(EXPERIMENTS[name], one)) for name, one in records.items()}
    made |= {f"results/{name}.json": one.model_dump_json(indent=2) + "\n" for name, one in records.items()}
    made["README.md"] = page.contents(records)
    made["result.schema.json"] = json.dumps(record.schema(), indent=2) + "\n"
    return made


def kept() -> dict[str, record.Record]:
    """The results from which the pages were built, in the order of the experiments."""
    files = {name: LAB / "results" / f"{name}.json" for name in EXPERIMENTS}
    return {name: record.Record.model_validate_json(path.read_bytes()) for name, path in files.items() if path.exists()}


def main(folder: Path) -> None:
    """Write the pages of the results in `folder`; experiments without a result there keep their pages."""
    (LAB / "images").mkdir(parents=True, exist_ok=True)
    (LAB / "results").mkdir(exist_ok=True)
    found = {name: one for name in EXPERIMENTS if (one := record.load(folder / name))}
    for name in found:
        small(folder / name / record.FIGURE, LAB / "images" / f"{name}.png")
    merged = kept() | found
    for name, text in pages({name: merged[name] for name in EXPERIMENTS if name in merged}).items():
        (LAB / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the output of `scorefield lab --all --output`")
    main(parser.parse_args().folder)
