"""Write the result of `scorefield eval adherence` or `eval film`, as JSON, into the header of the model's file.

Run: `python recipes/record.py src/scorefield/assets/scenes-generator.safetensors adherence.json`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from scorefield.weights import scorefield_file


def recorded(header: scorefield_file.Header, result: dict[str, dict[str, float]]) -> scorefield_file.Header:
    """The header with the rate of each task as its figures."""
    return replace(header, figures={f"adherence_{task}": round(share["rate"], 4) for task, share in result.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("result", type=Path)
    given = parser.parse_args()
    tensors, header = scorefield_file.load(given.weights, scorefield_file.read_header(given.weights).kind)
    scorefield_file.save(given.weights, tensors, recorded(header, json.loads(given.result.read_text())))
