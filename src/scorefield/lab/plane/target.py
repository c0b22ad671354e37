"""Why a network predicts all the noise, and not the noise of the last step.

A noisy picture is made in a hundred small steps, and to undo one step it would be enough to know the noise z of that
step. DDPM asks the network for something else: the whole noise eps between the clean picture and this state. Why is
that allowed, and why is it better?

It is allowed because the network can only ever learn a mean. Of all walks that end in the state x, some came from here
and some from there. On average they came from where the walks are dense, and the means of both noises point along the
same arrow, the score of the density p at that step,

    E[z | x] = -sqrt(beta) grad log p(x),        E[eps | x] = -sigma grad log p(x).

It is better because of the variance around the mean. To compare the two, divide each by its factor, so that both
estimate the same arrow. The noise of the last step depends on the clean picture only through eps, and is otherwise
random,

    z = sqrt(beta) / sigma eps + sqrt(1 - beta / sigma^2) more,        more ~ N(0, 1), whatever eps is,

so the ratio of their variances can be predicted. With V = Var(eps | x), for which the spiral has a formula,

    variance by z / variance by eps = 1 + (sigma^2 / beta - 1) / V.

The measurement uses neither formula. It takes 32 states x at each of five times, makes a million walks, weights each by
the likelihood that its last step ends in x, and computes both means and both variances from the weighted walks. The
panel at the upper left is one such state: two clouds of guesses, one mean. The guesses from all the noise are the
spiral itself, seen from x.

The effect on a network is at the lower right. Two networks with the same initial weights see the same states in the
same order. The target of one is eps, of the other z sqrt(sigma^2 / beta), which has the same mean. Their error is that
of the experiment `field`: the distance to the exact mean of x0, averaged over the five times. More variance in the
target means more steps until it is averaged away. With patience the second network would reach the same field; it is
slower, not wrong. It is slower where there is much noise. At t = 0.1 both networks are about equally far from the
truth, because there the fine detail of the field takes long to learn, whatever the target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from scorefield.core import predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned
from scorefield.core.level import Level, eps_of, noisy
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import learn, levels
from scorefield.lab.plane.exact import posterior_mean, posterior_variance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WALK = levels.walk_down(100, start=0.0, end=1.0)
MEASURED = (10, 30, 50, 70, 90)  # steps of the walk
PICTURED = 50  # of them, the one that is drawn
_STATES = 8  # states per batch, each against all walks
LEAST = 1e-6  # lower limit of a variance, which vanishes for points without spread when there is little noise
EVERY = 20  # training steps between two measured errors


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings(Settings):
    """The shape, the number of walks and of states, and the training steps of both networks."""

    shape: str = "spiral"
    walks: Annotated[int, Field(ge=1000, le=2_000_000)] = 1_000_000
    states: Annotated[int, Field(ge=1, le=1000)] = 32
    steps: Annotated[int, Field(ge=EVERY, le=100_000)] = 800
    batch: Annotated[int, Field(ge=8, le=65_536)] = 256


class Guesses(NamedTuple):
    """The estimates of the arrow at some states (S, 2): both means (S, 2), and both mean variances."""

    by_last: Tensor
    by_total: Tensor
    variance_by_last: float
    variance_by_total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Estimates at the MEASURED steps, ratios of variances, one state with its estimates, and both errors."""

    nodes: Tensor
    guesses: list[Guesses]
    states: Tensor  # of the pictured step
    measured: list[float]
    predicted: list[float]
    clouds: tuple[Tensor, Tensor]  # estimates (N, 2) for the first state, from the last step's noise and from all of it
    error_last: Tensor
    error_total: Tensor
    numbers: Mapping[str, float]


class Walks(NamedTuple):
    """Many walks before their last step k: clean points and states (N, 2), and the constants of the step."""

    x0: Tensor
    before: Tensor
    at: Level  # of step k
    kept: float  # of the state before
    beta: float

    def likely(self, x: Tensor) -> Tensor:
        """The probability of each walk (S, N), given that its last step ends in x (S, 2)."""
        z = torch.cdist(x, self.kept * self.before, compute_mode="donot_use_mm_for_euclid_dist")
        return (-z.square() / (2 * self.beta)).softmax(1)

    def by_last(self, x: Tensor, before: Tensor) -> Tensor:
        """The estimate of the arrow at x from the last step's noise: -z / sqrt(beta)."""
        return (self.kept * before - x) / self.beta

    def by_total(self, x: Tensor, x0: Tensor) -> Tensor:
        """The estimate of the arrow at x from all the noise: -eps / sigma."""
        return -eps_of(x, x0, self.at) / self.at.sigma


def walks(shape: shapes.Shape, k: int, count: int, generator: torch.Generator) -> Walks:
    """`count` walks up to step k - 1."""
    x0, _ = shape.draw(count, generator)
    before = noisy(x0, torch.randn(x0.shape, generator=generator), WALK[k - 1])
    kept = float(WALK[k].alpha / WALK[k - 1].alpha)
    return Walks(x0, before, WALK[k], kept, 1 - kept**2)


def weigh(walked: Walks, x: Tensor) -> Guesses:
    """Means and variances of both estimates at each state of x (S, 2)."""
    known = torch.cat([walked.x0, walked.before, walked.x0.square(), walked.before.square()], 1)
    # An estimate is linear in the state before and the clean point, so their moments suffice.
    moments = torch.cat([walked.likely(part) @ known for part in torch.split(x, _STATES)]).double()
    x0, before, *squares = torch.split(moments, 2, dim=1)
    spread, spread_before = (
        (square - mean.square()).mean() for square, mean in zip(squares, (x0, before), strict=True)
    )
    return Guesses(
        by_last=walked.by_last(x, before),
        by_total=walked.by_total(x, x0),
        variance_by_last=float(spread_before) * (walked.kept / walked.beta) ** 2,
        variance_by_total=float(spread) * float(walked.at.alpha / walked.at.sigma**2) ** 2,
    )


def task(all_of_it: bool) -> learn.Task:
    """The task of predicting the noise in a state: all of it, or the last step's scaled to the same mean."""
    alpha, sigma = (torch.tensor([float(part) for part in parts]) for parts in zip(*WALK, strict=True))
    kept = torch.tensor([0.0] + [float(after.alpha / before.alpha) for before, after in pairwise(WALK)])

    def loss(live: Preconditioned, x0: Tensor, cond: Cond, generator: torch.Generator) -> Tensor:
        # Without the ends: in the first step both noises are equal, in the last nothing is left of x0.
        k = torch.randint(2, len(WALK) - 1, (len(x0),), generator=generator)
        beta = (1 - kept[k] ** 2)[:, None]
        eps, z = (torch.randn(x0.shape, generator=generator) for _ in range(2))
        x = kept[k, None] * noisy(x0, eps, Level(alpha[k - 1], sigma[k - 1])) + beta.sqrt() * z
        at = Level(alpha[k], sigma[k])
        target = eps_of(x, x0, at) if all_of_it else z * sigma[k, None] / beta.sqrt()
        return (eps_of(x, live(x, at, cond), at) - target).square().mean()

    return learn.Task(predict.flow, loss)


def errors(shape: shapes.Shape, settings: TargetSettings, all_of_it: bool, watch: Watch) -> Tensor:
    """The error of the field as in the experiment `field`: the mean over MEASURED, every EVERY training steps."""
    generator = torch.Generator().manual_seed(settings.seed)
    exact, asked = posterior_mean(shape), []
    for at in (WALK[k] for k in MEASURED):
        x0, _ = shape.draw(256, generator)
        x = noisy(x0, torch.randn(x0.shape, generator=generator), at)
        asked.append((x, at, exact(x, at)))
    how = learn.Training(steps=settings.steps, batch=settings.batch)
    found = []
    training = learn.training(shape, how, settings.seed, task(all_of_it))
    for update in watch(training, f"learning {'all the' if all_of_it else 'the last'} noise", settings.steps):
        if update.step % EVERY == 0:
            with torch.no_grad():
                gaps = [update.denoiser(x, at, Cond()) - mean for x, at, mean in asked]
            found.append(torch.stack([gap.square().mean().sqrt() for gap in gaps]).mean())
    return torch.stack(found)


def run(settings: TargetSettings, watch: Watch) -> Compared:
    """Weigh the walks at each step, then train both networks."""
    shape, generator = shapes.find(settings.shape), torch.Generator().manual_seed(settings.seed)
    variance = posterior_variance(shape)
    found, measured, predicted, cosines = [], [], [], []
    for k in watch(MEASURED, "weighing walks", len(MEASURED)):
        at, walked = WALK[k], walks(shape, k, settings.walks, generator)
        x0, _ = shape.draw(settings.states, generator)
        x = noisy(x0, torch.randn(x0.shape, generator=generator), at)
        found.append(weigh(walked, x))
        # The variance of eps follows from that of x0, by eps = (x - alpha x0) / sigma.
        unsure = float(variance(x.double(), at).mean()) * (float(at.alpha) / float(at.sigma)) ** 2
        predicted.append(1 + (float(at.sigma) ** 2 / walked.beta - 1) / max(unsure, LEAST))
        measured.append(found[-1].variance_by_last / max(found[-1].variance_by_total, LEAST / float(at.sigma) ** 2))
        cosines.append(float(torch.cosine_similarity(found[-1].by_last.flatten(), found[-1].by_total.flatten(), 0)))
        if k == PICTURED:
            states, clouds = x, _clouds(walked, x[:1], generator)
    last, total = (errors(shape, settings, all_of_it, watch) for all_of_it in (False, True))
    return Compared(
        nodes=shape.nodes,
        guesses=found,
        states=states,
        measured=measured,
        predicted=predicted,
        clouds=clouds,
        error_last=last,
        error_total=total,
        numbers={
            "lowest_cosine_of_the_means": min(cosines),
            "largest_error_of_the_predicted_ratio": max(
                abs(one / other - 1) for one, other in zip(measured, predicted, strict=True)
            ),
            "variance_ratio_half_way": measured[MEASURED.index(PICTURED)],
            "error_trained_on_all_the_noise": float(total[-1]),
            "error_trained_on_the_last_noise": float(last[-1]),
            "times_less_error_after_equal_steps": float(last[-1] / total[-1]),
        },
    )


def _clouds(walked: Walks, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both estimates from 1,500 walks that end in x (1, 2)."""
    chosen = torch.multinomial(walked.likely(x)[0], 1500, replacement=True, generator=generator)
    return walked.by_last(x, walked.before[chosen]), walked.by_total(x, walked.x0[chosen])


def draw(result: Compared) -> "Figure":
    """Draw the estimates of one state, the means of many, the ratio of the variances, and the training errors."""
    figure, axes = style.figure(2, 2, width=8.0, height=7.6)
    _draw_clouds(axes[0], result)
    _draw_means(axes[1], result)
    ratio, error = axes[2:]
    t = [levels.share(WALK[k]) for k in MEASURED]
    ratio.plot(t, result.predicted, color=style.EXACT, label="predicted")
    ratio.scatter(t, result.measured, color=style.DATA, s=22, zorder=3, label="measured")
    ratio.set(yscale="log", xlabel="t", xlim=(0, 1), ylim=(3, 1000), title="ratio of the variances, last noise / all")
    style.legend(ratio, "upper left")
    steps = torch.arange(1, len(result.error_total) + 1) * EVERY
    error.plot(steps, result.error_last, color=style.RANDOM, label="trained on the last step's noise")
    error.plot(steps, result.error_total, color=style.LEARNED, label="trained on all the noise")
    error.set(xlabel="steps of training", ylim=(0, 0.5), title="error of the learned field")
    style.legend(error, "upper right")
    return figure


def _draw_clouds(axes: "Axes", result: Compared) -> None:
    last, total = result.clouds
    middle = result.guesses[MEASURED.index(PICTURED)].by_total[0]
    limit = 3.6 * float(last.std())
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title="one noisy point: guesses of its arrow")
    style.dots(axes, last, style.RANDOM, size=4, alpha=0.5, label="by the last step's noise")
    style.dots(axes, total, style.LEARNED, size=4, alpha=0.5, label="by all the noise", order=3)
    across, up = middle.tolist()
    axes.scatter(across, up, marker="x", s=60, color=style.EXACT, zorder=4, label="the mean of both")
    style.legend(axes, "upper left")


def _draw_means(axes: "Axes", result: Compared) -> None:
    means = result.guesses[MEASURED.index(PICTURED)]
    style.plane(axes, f"the mean arrows of both at t = {levels.share(WALK[PICTURED]):.2f}")
    style.dots(axes, result.nodes * float(WALK[PICTURED].alpha), style.DATA, size=1.5, alpha=0.25)
    wide = style.arrows(axes, result.states, style.shortened(means.by_last, 0.8), style.RANDOM, alpha=0.6)
    wide.set(linewidth=2.5, edgecolor=style.RANDOM)
    style.arrows(axes, result.states, style.shortened(means.by_total, 0.8), style.LEARNED)


target = Experiment(
    name="target",
    claim="The noise of the last step and all the noise have the same expected direction,"
    " but all the noise varies far less about it, as predicted, and trains a network faster.",
    criteria=(
        Criterion("lowest_cosine_of_the_means", ">=", 0.99),  # 1 in theory, less the error of a million walks
        Criterion("largest_error_of_the_predicted_ratio", "<=", 0.10),
        Criterion("times_less_error_after_equal_steps", ">=", 2.0),
    ),
    settings=TargetSettings,
    run=run,
    draw=draw,
)
