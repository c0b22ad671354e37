"""The learning rate over a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wsd:
    """Warm-up, stable, decay (Hu et al. 2024, MiniCPM): linear up, flat, linear to zero.

    A run may be made longer from any state before the decay, because the flat part does not know the total.
    """

    warmup: int = 100  # steps
    decay: float = 0.2  # share of the run

    def stable_until(self, steps: int) -> int:
        """How many of `steps` steps are done when the decay begins."""
        return steps - round(self.decay * steps)

    def __call__(self, step: int, steps: int) -> float:
        """The factor of the base rate for step `step` = 1..steps: 1 / warmup at the first, 0 at steps + 1."""
        rise = step / self.warmup if step < self.warmup else 1.0
        span = steps - self.stable_until(steps) + 1
        fall = (steps + 1 - step) / span if span > 1 else 1.0
        return max(0.0, min(rise, fall, 1.0))
