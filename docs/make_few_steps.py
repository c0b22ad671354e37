"""Measure how far few steps are from many, for every sampler, on the embedded model: the table of docs/loop.md.

python docs/make_few_steps.py
"""

import inspect
import sys
from collections.abc import Mapping

import numpy as np

import scorefield as sf
from scorefield.sample.samplers import SAMPLERS, SamplerRecord

PROMPTS = ["a tree in the desert", "two red cars on the grass", "a penguin left of a dog in the sea"]
STEPS = (6, 8, 10, 12)


def drawn(pipe: sf.Pipeline, sampler: str, steps: int, options: Mapping[str, float]) -> np.ndarray:
    """The pixels of one picture for each prompt, from 0 to 255."""
    result = pipe(PROMPTS, sampler=sampler, steps=steps, guidance=3, seed=1, **options)
    return np.stack([np.asarray(image, float) for image in result.images])


def ode(record: SamplerRecord) -> dict[str, float]:
    """The options that switch the fresh noise off."""
    return {"eta": 0.0} if record.stochastic and "eta" in inspect.signature(record.sampler).parameters else {}


def main() -> None:
    """Print the table in markdown."""
    pipe = sf.load()
    right = drawn(pipe, "heun", 50, {})
    heads = ["sampler", *(f"{steps} steps" for steps in STEPS), *(f"{steps}, Karras" for steps in STEPS)]
    rows = [heads, ["---", *["---:"] * 2 * len(STEPS)]]
    for record in SAMPLERS:
        if record.name == "ddpm":  # its picture depends on the number of steps
            continue
        names = [record.name] * len(STEPS) + [f"{record.name} karras"] * len(STEPS)
        apart = [
            abs(drawn(pipe, name, steps, ode(record)) - right).mean()
            for name, steps in zip(names, STEPS * 2, strict=True)
        ]
        rows.append([record.name, *(f"{value:.1f}" for value in apart)])
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))


if __name__ == "__main__":
    main()
