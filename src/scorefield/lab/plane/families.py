"""Six families of generative models learn one shape in the same time; they differ in what a sample costs.

All get the same data, the same number of parameters (28,000; a GAN's critic and a VAE's encoder count, since they are
trained too), the same optimiser, batch, schedule and averaging, and the same five seconds of one CPU core. The time is
given as a fixed number of updates, chosen so that the seconds agree, so that a run depends on its seed alone. The
seconds that it actually took are measured and reported.

    GAN                 a generator whose samples a critic cannot distinguish from data; one call, no likelihood
    VAE                 a code of two numbers and back; one call, a lower bound of the likelihood
    normalising flow    invertible layers between data and noise; one pass, exact likelihood
    autoregressive      first the cell of x, then that of y given x; a call per coordinate, exact likelihood
    diffusion           predicts the noise and walks down it, DDPM with 150 steps; exact likelihood by its ODE
    flow matching       predicts the direction from noise to data; 10 steps of Heun's method, exact likelihood

Four things are measured on the samples. Their sliced Wasserstein distance to fresh data, over the distance that two
data sets of the same size have by chance: 1 is perfect. Coverage, the share of the shape with a sample near, which
shows dropped modes. Precision, the share of samples near the shape, which shows smearing. And the seconds of process
time for 10,000 points. Near means within a radius that holds for 99 of 100 fresh points of the data. For a family with
a likelihood, its mean over fresh data is compared with that of the true density, which no model can exceed except by
chance:

    log p(x)            in nats per point; the shape is a mixture of Gaussians, so the truth is known

No family is a straw man: each got the same effort, three learning rates times two variants, all run in full with seed 1
and judged by the distance; the table is in the documentation, docs/lab/families-tuning.md. The figure shows seed 0.
Luck remains: with seeds 0 to 7 diffusion's distance is 0.9 to 1.1 times the data's, the GAN's 1.3 to 3.9 times. With
two of them, 1 and 5, the GAN's is only 1.47 and 1.48 times diffusion's, less than the claim asks; else 1.97 to 3.5.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from time import process_time
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from scorefield.data import shapes
from scorefield.data.shapes import Shape
from scorefield.evals.coverage import coverage, precision, radius_of
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.families import autoregressive, coupling, flow_matching, gan, noise_prediction, vae
from scorefield.lab.families.generative_family import Family, Model
from scorefield.lab.families.likelihood import of_shape
from scorefield.lab.plane.cloud_fit import chance, misfit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODULES = (gan, vae, coupling, autoregressive, noise_prediction, flow_matching)
FAMILIES: tuple[Family, ...] = tuple(one.FAMILY for one in MODULES)
VARIANTS: Mapping[str, Mapping[str, Family]] = {one.FAMILY.name: one.VARIANTS for one in MODULES}  # for the tuning
CLOUDS = 5  # measured, each of different samples
WEIGHED = 1000  # fresh points for the likelihood
ENOUGH = 0.2  # seconds of sampling after which timing ends


@dataclass(frozen=True, slots=True, kw_only=True)
class FamiliesSettings(Settings):
    """The shape, the share of the full training time, and the points of each of five measured clouds."""

    shape: str = "spiral"
    training: Annotated[float, Field(gt=0, le=10)] = 1.0
    points: Annotated[int, Field(ge=100, le=20_000)] = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One cloud (points, 2) of the data and of each family, by name, and everything measured."""

    data: Tensor
    clouds: Mapping[str, Tensor]
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The references for samples of a shape."""

    shape: Shape
    radius: float
    chance: float  # the sliced Wasserstein distance of data to data
    test: Tensor
    seed: int

    def fit(self, clouds: Tensor) -> dict[str, float]:
        """The numbers that need only the samples (CLOUDS, points, 2)."""
        distance = misfit(self.shape, clouds, torch.Generator().manual_seed(self.seed + 4))
        covered = [coverage(one, self.shape.nodes, self.radius) for one in clouds]
        return {
            "distance_over_data": distance / self.chance,
            "coverage": sum(covered) / len(covered),
            "precision": precision(clouds.flatten(0, 1), self.shape.nodes, self.radius),
        }


def judge(shape: Shape, points: int, seed: int) -> Judge:
    """The judge, with bounds measured on fresh data."""
    generator = torch.Generator().manual_seed(seed + 2)
    data, _ = shape.draw(CLOUDS * points, generator)
    # Points without spread are their own nodes: half of them serve as fresh data, half as the shape.
    mixed = shape.nodes[torch.randperm(len(shape.nodes), generator=generator)]
    radius = radius_of(data, shape.nodes) if shape.spread else radius_of(mixed[::2], mixed[1::2])
    by_chance = chance(shape, points, 4 * CLOUDS, generator)
    return Judge(shape=shape, radius=radius, chance=by_chance, test=shape.draw(WEIGHED, generator)[0], seed=seed)


def trained(family: Family, shape: Shape, settings: FamiliesSettings, watch: Watch) -> tuple[Model, float]:
    """Train a family; its model, and the CPU seconds of the training."""
    how = replace(family.how, steps=max(1, round(family.how.steps * settings.training)))
    start = process_time()
    for update in watch(family.training(shape, how, settings.seed), f"training: {family.title}", how.steps):
        last = update
    return last.model, process_time() - start


def sampled(model: Model, count: int, seed: int) -> tuple[Tensor, float]:
    """`count` samples, and their CPU seconds: the least of up to five measurements."""
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < ENOUGH:
        generator = torch.Generator().manual_seed(seed + 3)
        start = process_time()
        x = model.sample(count, generator)
        seconds.append(process_time() - start)
    return x, min(seconds)


def run(settings: FamiliesSettings, watch: Watch) -> Compared:
    """Train and measure the families one after another."""
    shape = shapes.find(settings.shape)
    by = judge(shape, settings.points, settings.seed)
    data, _ = shape.draw(CLOUDS * settings.points, torch.Generator().manual_seed(settings.seed + 5))
    data = data.reshape(CLOUDS, -1, 2)
    numbers = {f"data_{name}": value for name, value in by.fit(data).items()}
    numbers |= {"data_distance": by.chance, "radius": by.radius}
    if shape.spread:  # otherwise there is no density
        numbers["data_log_likelihood"] = float(of_shape(shape, by.test).mean())
    clouds: dict[str, Tensor] = {}
    for family in FAMILIES:
        model, training_seconds = trained(family, shape, settings, watch)
        x, seconds = sampled(model, CLOUDS * settings.points, settings.seed)
        found = by.fit(x.reshape(CLOUDS, -1, 2)) | {
            "seconds_per_10000": seconds * 10_000 / len(x),
            "calls": model.calls,
            "parameters": sum(one.numel() for one in model.parameters()),
            "training_seconds": training_seconds,
        }
        likelihood = model.log_likelihood(by.test)
        if likelihood is not None:
            found[likelihood_name(model)] = float(likelihood.mean())
        clouds[family.name] = x[: settings.points]
        numbers |= {f"{family.name}_{name}": value for name, value in found.items()}
    numbers["diffusion_time_over_gan"] = numbers["diffusion_seconds_per_10000"] / numbers["gan_seconds_per_10000"]
    numbers["gan_distance_over_diffusion"] = numbers["gan_distance_over_data"] / numbers["diffusion_distance_over_data"]
    return Compared(data=data[0], clouds=clouds, numbers=numbers)


def likelihood_name(model: Model) -> str:
    """The name of the number for `log_likelihood`."""
    return "log_likelihood" if model.likelihood == "exact" else "log_likelihood_at_least"


def draw(result: Compared) -> "Figure":
    """Draw a cloud of each family with its numbers, and quality against the time per sample."""
    names = [family.name for family in FAMILIES]
    figure, axes = style.mosaic([names[:3], names[3:], ["price"] * 3], 8.0, 10.0, heights=[3, 3, 2.2])
    figure.suptitle("samples in blue, the data in grey", fontsize=10)
    for family in FAMILIES:
        plot = style.plane(axes[family.name], family.title)
        style.dots(plot, result.data, style.RANDOM, size=1.0, alpha=0.25, order=1)
        style.dots(plot, result.clouds[family.name], style.LEARNED, size=1.2, alpha=0.5)
        plot.set_xlabel("\n".join(_lines(result.numbers, family.name)), fontsize=9)
    _price(axes["price"], result.numbers)
    return figure


def _lines(numbers: Mapping[str, float], name: str) -> Iterator[str]:
    calls, seconds = int(numbers[f"{name}_calls"]), numbers[f"{name}_seconds_per_10000"]
    yield f"distance {numbers[f'{name}_distance_over_data']:.1f} × the data's own"
    yield f"coverage {numbers[f'{name}_coverage']:.2f}, precision {numbers[f'{name}_precision']:.2f}"
    yield f"{calls} call{'s' if calls > 1 else ''}, {seconds:.2g} s for 10,000"
    yield _likelihood(numbers, name).replace("-", "−")  # like the tick labels


def _likelihood(numbers: Mapping[str, float], name: str) -> str:
    exact, bound = f"{name}_log_likelihood", f"{name}_log_likelihood_at_least"
    if exact not in numbers and bound not in numbers:
        return "no likelihood"
    value = f"= {numbers[exact]:.2f}" if exact in numbers else f"≥ {numbers[bound]:.2f}"
    truth = f", truth {numbers['data_log_likelihood']:.2f}" if "data_log_likelihood" in numbers else ""
    return f"log p(x) {value}{truth}"


def _price(axes: "Axes", numbers: Mapping[str, float]) -> None:
    """Draw the distance to the data over the time per sample."""
    axes.set(xscale="log", xlabel="seconds of CPU for 10,000 points", ylabel="distance over the data's own")
    places = {
        one.title: (numbers[f"{one.name}_seconds_per_10000"], numbers[f"{one.name}_distance_over_data"])
        for one in FAMILIES
    }
    fastest = min(places.values())
    for title, where in places.items():
        axes.scatter(*where, s=36, color=style.LEARNED, zorder=3)
        # Labels away from the data's line; the two fast families are close, so also away from each other.
        side, aside = ("right", -6) if where == fastest else ("left", 6)
        up = ("bottom", 3) if where[1] >= 1 else ("top", -3)
        axes.annotate(title, where, (aside, up[1]), textcoords="offset points", ha=side, va=up[0], fontsize=9)
    axes.axhline(1, color=style.DATA, linewidth=1.2, linestyle="--")
    axes.margins(x=0.16)
    axes.set_ylim(0, 1.2 * max(distance for _, distance in places.values()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.text(0.005, 0.97, "data against data", transform=axes.get_yaxis_transform(), va="top", fontsize=9)


families = Experiment(
    name="families",
    claim="In the same training time, diffusion and flow matching come within twice the data's distance to itself, "
    "nearer than a GAN, and a diffusion sample takes at least twenty times the GAN's time.",
    criteria=(
        # At a ratio of two, the systematic error is 1.7 times the chance error of 2,000 points.
        Criterion("diffusion_distance_over_data", "<=", 2.0),
        Criterion("flow_matching_distance_over_data", "<=", 2.0),
        Criterion("gan_distance_over_diffusion", ">=", 1.5),  # the gain: more than the scatter of the distance
        # The price: 150 calls against one, of a network twice its size.
        Criterion("diffusion_time_over_gan", ">=", 20.0),
    ),
    settings=FamiliesSettings,
    run=run,
    draw=draw,
    reason="A GAN depends on the luck of its training: as the experiment stands, it comes within 1.5 times diffusion's "
    "distance with seeds 1 and 5 (1.47 and 1.48), and with none of the others from 0 to 7 (1.97 to 3.5).",
)
