"""Guidance goes further in the direction of the condition than the condition alone.

The spiral has three classes: its inner third is person, the middle one dog, the outer one cat. In training the network
gets the class of each point, except for a fifth of them, where it gets "none". So one network holds two fields: the
conditional one, which knows what is wanted, and the unconditional one, which knows all the data.

The conditional field should be enough to draw a class, but it is often called loose: a network is smooth, and near the
ends of a class, or between two arms of the spiral, it may send points to the wrong one. Classifier-free guidance
follows neither field, but the line from the one to the other, and beyond,

    guided = unconditional + alpha (conditional - unconditional).

With alpha = 0 that is the unconditional field, with 1 the conditional one, and above 1 it exaggerates what the
condition changes. How much does it change? The cosine between the noise predictions of the two fields, over noisy
points of all the data, tells. Far out, where all is noise, they agree: every class lies inwards. Near the data they
differ. With very little noise the learned fields differ more than the exact ones: a small error of the network is then
a large part of its prediction.

A sample has the class of its nearest node. Its fit is the sliced Wasserstein distance to fresh points of the requested
class. In the plane conditioning alone is not loose. One point in a hundred has the wrong class, and it lies next to the
border of the two; the exact field does the same to one in two hundred. Guidance corrects even that, but there is little
to correct, and it costs the fit from the start: strong guidance pulls all points of a class to the part that is most
unlike the others, and then out of the spiral. A network for pictures knows its classes far less well.

A negative prompt replaces "none". Put the class dog there, and the field leads away from dogs,

    guided = dog + alpha (unconditional - dog),

which gives anything but a dog, whether it is data or not: most points end outside the spiral, half a deviation away
from it. And a person guided away from dogs is a person even nearer to its own end.

The three arrows in the figure start at the noisy point and show where each field removes the noise. The single point is
the first of the cats that conditioning alone brings to another class, so it is not a typical one.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from scorefield.data import shapes
from scorefield.data.shapes import Shape
from scorefield.evals.sliced import sliced_wasserstein
from scorefield.guide.cfg import cfg
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import cloud_fit, learn, levels
from scorefield.lab.plane.by_class import labelled, nearest, of_class, share
from scorefield.lab.plane.class_figures import animate, draw
from scorefield.lab.plane.class_guidance import ALPHAS, GRID, GUIDED, SHOWN, TIMES, Guided, agreement, push, walk
from scorefield.lab.plane.exact import posterior_mean

FAR, NEAR = 0.95, 0.2  # t at which the fields should agree, and differ


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassesSettings(Settings):
    """The shape, the length of the training, and the samples of each class and alpha."""

    shape: str = "spiral"
    training: Annotated[int, Field(ge=1, le=20_000)] = 1500
    steps: Annotated[int, Field(ge=4, le=400)] = 64
    points: Annotated[int, Field(ge=16, le=5000)] = 400


def run(settings: ClassesSettings, watch: Watch) -> Guided:
    """Learn the classes, compare the fields, and draw each class with increasing guidance."""
    shape, generator = labelled(shapes.find(settings.shape)), torch.Generator().manual_seed(settings.seed)
    labels = range(int(shape.label.max()) + 1)
    how = learn.Training(steps=settings.training, classes=len(labels))
    denoiser = learn.learn(shape, how, settings.seed, watch)
    *fields, none = (of_class(denoiser, label) for label in (*labels, len(labels)))

    start = torch.randn(settings.points, 2, generator=generator)
    data = [shape.only(label).draw(settings.points, generator)[0] for label in labels]
    passed = levels.slowing_down(settings.steps)
    clouds = {
        alpha: torch.stack([walk(cfg(field, none, alpha), start, passed)[-1] for field in fields])
        for alpha in watch(ALPHAS, "guiding", len(ALPHAS))
    }
    middle = fields[_middle(len(labels))]
    without, person = (walk(cfg(field, middle, GUIDED), start, passed)[-1] for field in (none, fields[0]))
    pair = (fields[-1], cfg(fields[-1], none, GUIDED))
    result = Guided(
        shape=shape,
        learned=agreement(shape, fields, none, settings.seed),
        exact=_exact_agreement(shape, labels, settings.seed),
        pushes={t: [push(field, t) for field in (none, *pair)] for t in SHOWN},
        clouds=clouds,
        without=without,
        right=torch.stack([_right(shape, clouds[alpha]).double().mean(1) for alpha in ALPHAS]),
        fit=torch.tensor([[sliced_wasserstein(*each) for each in zip(clouds[a], data, strict=True)] for a in ALPHAS]),
        ways=[walk(field, start, passed) for field in pair],
        followed=int((~_right(shape, clouds[1.0])[-1]).double().argmax()),
        arrows=[torch.stack([style.shortened(field(GRID, at) - GRID) for at in passed[:-1]]) for field in pair],
        levels=passed,
        numbers={},
    )
    return dataclasses.replace(result, numbers=_numbers(result) | _negative_numbers(result, person))


def _middle(classes: int) -> int:
    """The index of the negative class."""
    return (classes - 1) // 2


def _exact_agreement(shape: Shape, labels: Sequence[int], seed: int) -> Tensor:
    perfect = [posterior_mean(shape.only(label)) for label in labels]
    return agreement(shape, perfect, posterior_mean(shape), seed)


def _right(shape: Shape, cloud: Tensor) -> Tensor:
    """Whether each point (classes, points) of a cloud belongs to the requested class."""
    return torch.stack([nearest(shape, points) == label for label, points in enumerate(cloud)])


def _negative_numbers(result: Guided, person: Tensor) -> dict[str, float]:
    """Measure the middle class as a negative, for no class and for `person`, and its share of the mistakes."""
    shape, plain, middle = result.shape, result.clouds[1.0], _middle(len(result.clouds[1.0]))
    mixed = share(nearest(shape, plain[0]), middle) + share(nearest(shape, plain[middle]), 0)
    mistakes = float((~_right(shape, plain)).double().mean(1).sum())
    return {
        "share_of_the_middle_class_unguided": share(nearest(shape, result.clouds[0.0][0]), middle),
        "share_of_the_middle_class_as_negative": share(nearest(shape, result.without), middle),
        "distance_to_the_shape_conditional": float(cloud_fit.distance(shape, plain).mean()),
        "distance_to_the_shape_with_a_negative": float(cloud_fit.distance(shape, result.without).mean()),
        "right_share_of_the_first_class_with_the_middle_as_negative": share(nearest(shape, person), 0),
        "share_of_mistakes_between_the_first_two": mixed / max(1.0 / len(plain[0]), mistakes),
    }


def _numbers(result: Guided) -> dict[str, float]:
    right, fit = (dict(zip(ALPHAS, values.mean(1).tolist(), strict=True)) for values in (result.right, result.fit))
    best = min(fit, key=lambda alpha: fit[alpha])
    cosine = dict(zip(TIMES, result.learned.tolist(), strict=True))
    return {
        "cosine_of_the_fields_far_out": cosine[FAR],
        "cosine_of_the_fields_near_the_data": cosine[NEAR],
        "largest_error_of_the_cosine": float((result.learned - result.exact).abs().max()),
        "wrong_share_conditional": 1 - right[1.0],
        "wrong_share_guided": 1 - right[GUIDED],
        "wrong_share_guided_over_conditional": (1 - right[GUIDED]) / max(1 - right[1.0], 1e-6),
        "misfit_at_the_largest_alpha_over_the_best": fit[ALPHAS[-1]] / fit[best],
        "alpha_of_the_best_fit": best,
        **{f"right_share_at_alpha_{alpha:g}": value for alpha, value in right.items()},
        **{f"misfit_at_alpha_{alpha:g}": value for alpha, value in fit.items()},
    }


classes = Experiment(
    name="classes",
    claim="Conditioning alone is loose; guidance extrapolates past it to the right class, until too much of it spoils"
    " the fit; a negative class keeps samples away from it.",
    criteria=(
        Criterion("cosine_of_the_fields_far_out", ">=", 0.95),
        Criterion("cosine_of_the_fields_near_the_data", "<=", 0.7),  # where two of three points belong to another class
        Criterion("wrong_share_conditional", ">=", 0.02),
        Criterion("wrong_share_guided_over_conditional", "<=", 0.5),
        Criterion("misfit_at_the_largest_alpha_over_the_best", ">=", 1.5),
        Criterion("share_of_the_middle_class_as_negative", "<=", 0.1),  # a third, without
    ),
    reason="All holds except that conditioning alone is loose: a network learns the classes of the plane so well that"
    " only one point in a hundred has the wrong class, and that one lies near the border of the two.",
    settings=ClassesSettings,
    run=run,
    draw=draw,
    animate=animate,
)
