"""The six families: what they share, their likelihoods against known densities, and the experiment on other shapes."""

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.core import gauge
from scorefield.data import shapes
from scorefield.data.shapes import Shape
from scorefield.lab.families import autoregressive, coupling, flow_matching, gan, noise_prediction, vae
from scorefield.lab.families.coupling import BINS, REACH, spline
from scorefield.lab.families.generative_family import Family, Model, Training
from scorefield.lab.families.likelihood import of_shape, of_walk
from scorefield.lab.plane.exact import posterior_mean
from scorefield.lab.plane.families import CLOUDS, FAMILIES, VARIANTS, families, judge

each = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
exact = pytest.mark.parametrize(
    "family", [one for one in FAMILIES if one.name not in ("gan", "vae")], ids=lambda family: family.name
)

tried = pytest.mark.parametrize("variants", VARIANTS.values(), ids=VARIANTS)

DOCS = Path(__file__).parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("tune_families", DOCS / "tune_families.py")
assert SPEC is not None
assert SPEC.loader is not None
tune = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tune)


def gaussian(mean: tuple[float, float] = (0.5, -0.3), spread: float = 0.4) -> Shape:
    """One Gaussian, neither centred nor of unit variance."""
    nodes = torch.tensor([mean], dtype=torch.float64)
    return Shape(name="gaussian", nodes=nodes, spread=spread, label=torch.zeros(1, dtype=torch.long))


def trained(family: Family, shape: Shape, steps: int, seed: int = 0) -> Model:
    *_, last = family.training(shape, replace(family.how, steps=steps), seed)
    return last.model


@cache
def learned(family: Family) -> Model:
    """The Gaussian, learned in a moment: a sixth of a whole training, a third for a table that starts level."""
    return trained(family, gaussian(), family.how.steps // (3 if family.name == "autoregressive" else 6))


def square(half: float, cells: int) -> tuple[Tensor, float]:
    """The middles of the cells of a square about the origin, and the area of a cell."""
    middles = half * ((2 * torch.arange(cells) + 1) / cells - 1)
    return torch.cartesian_prod(middles, middles), (2 * half / cells) ** 2


def test_every_variant_has_the_same_number_of_parameters_within_two_percent() -> None:
    models = [trained(one, gaussian(), 1) for variants in VARIANTS.values() for one in variants.values()]
    counts = [sum(one.numel() for one in model.parameters()) for model in models]
    assert len(counts) == 12
    assert max(counts) <= 1.02 * min(counts), counts


@tried
def test_a_family_is_one_of_its_two_variants_and_they_are_trained_differently(variants: Mapping[str, Family]) -> None:
    assert len([one for one in variants.values() if one in FAMILIES]) == 1
    clouds = [trained(one, gaussian(), 3).sample(50, torch.Generator().manual_seed(0)) for one in variants.values()]
    assert len(clouds) == 2
    assert not torch.equal(*clouds)


@each
def test_a_family_learns_one_gaussian_in_a_moment(family: Family) -> None:
    shape = gaussian()
    x = learned(family).sample(1000, torch.Generator().manual_seed(1)).double()
    assert x.shape == (1000, 2)
    assert x.isfinite().all()
    # A rough fit: half of the spread off in the mean, a half of it in the spread, would both fail.
    torch.testing.assert_close(x.mean(0), shape.nodes[0], rtol=0, atol=0.12)
    torch.testing.assert_close(x.std(0), torch.full((2,), 0.4, dtype=torch.float64), rtol=0, atol=0.12)


@each
def test_training_and_sampling_depend_on_the_seed_alone(family: Family) -> None:
    def drawn(seed: int) -> Tensor:
        torch.rand(1)  # the global generator must not matter
        return trained(family, shapes.moons(), 3, seed).sample(50, torch.Generator().manual_seed(7))

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


@exact
def test_an_exact_likelihood_integrates_to_one(family: Family) -> None:
    model = learned(family)
    # Flat cells: a density that is even in a cell is integrated exactly where cells of the grid lie in cells of it.
    half, cells = (model.reach, 256) if isinstance(model, autoregressive.Autoregressive) else (3.0, 40)
    points, area = square(half, cells)
    density = model.log_likelihood(points)
    assert density is not None
    assert float(density.double().exp().sum() * area) == pytest.approx(1.0, abs=0.02)


def test_the_bound_of_the_vae_is_below_the_truth_and_integrates_to_at_most_one() -> None:
    shape = gaussian()
    model = learned(FAMILIES[1])
    points, area = square(3.0, 40)
    density = model.log_likelihood(points)
    assert density is not None
    assert 0.9 < float(density.double().exp().sum() * area) < 1.02
    x, _ = shape.draw(2000, torch.Generator().manual_seed(1))
    told = model.log_likelihood(x)
    assert told is not None
    # Gibbs: no density has a greater mean than the truth; 2,000 points know the difference to 0.02.
    assert -0.3 < float(told.mean() - of_shape(shape, x).mean()) < 0.02


def test_the_importance_weights_average_to_the_evidence_lower_bound() -> None:
    model, generator = trained(FAMILIES[1], gaussian(), 50), torch.Generator().manual_seed(0)
    assert isinstance(model, vae.Vae)
    x0 = gaussian().draw(4, generator)[0].repeat(10_000, 1)
    with torch.no_grad():
        weight, loss = model.weight(x0, generator).mean(), vae.loss(model, x0, generator)
    # A weight scatters by 0.7, its mean by 0.004; five of these.
    assert float(weight) == pytest.approx(-float(loss), abs=0.02)


def test_the_gan_has_no_likelihood() -> None:
    assert gan.Gan().log_likelihood(torch.zeros(3, 2)) is None


@pytest.mark.parametrize("name", ["spiral", "ring"])
def test_the_walk_of_the_exact_field_has_the_exact_density_of_the_shape(name: str) -> None:
    shape = shapes.find(name)
    x, _ = shape.draw(100, torch.Generator().manual_seed(0))
    noise_predictor = noise_prediction.Diffusion(betas="cosine")
    for model, way in ((flow_matching.FlowMatching(), gauge.rf), (noise_predictor, gauge.vp)):
        levels = [way(lam) for lam in model.lams_of_likelihood()]
        told = of_walk(posterior_mean(shape), x, levels)
        assert float((told.mean() - of_shape(shape, x).mean()).abs()) < 0.05


def test_the_density_of_a_shape_is_that_of_its_mixture() -> None:
    x = torch.randn(5, 2, dtype=torch.float64)
    gaussians = [torch.distributions.MultivariateNormal(node, 0.3**2 * torch.eye(2).double()) for node in x]
    shape = Shape(name="five", nodes=x, spread=0.3, label=torch.zeros(5, dtype=torch.long))
    points = torch.randn(20, 2, dtype=torch.float64)
    expected = torch.stack([one.log_prob(points).exp() for one in gaussians]).mean(0).log()
    torch.testing.assert_close(of_shape(shape, points), expected)


def test_bare_points_have_no_density() -> None:
    with pytest.raises(ValueError, match="has no spread, so it has no density"):
        of_shape(replace(gaussian(), spread=0.0), torch.zeros(1, 2))


def test_the_spline_is_monotone_its_slope_is_its_derivative_and_it_is_undone() -> None:
    told = 2 * torch.randn(1, 3 * BINS - 1, dtype=torch.float64).expand(2001, -1)
    x = torch.linspace(-1.2 * REACH, 1.2 * REACH, 2001, dtype=torch.float64, requires_grad=True)
    y, log_slope = spline(x, told, back=False)
    assert (y.diff() > 0).all()
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())
    again, back_slope = spline(y.detach(), told, back=True)
    torch.testing.assert_close(again, x.detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(back_slope, -log_slope.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bend", ["affine", "spline"])
def test_a_flow_undoes_its_layers_and_knows_its_change_of_volume(bend: coupling.Bend) -> None:
    model = coupling.Flow(bend=bend).double()
    for one in model.parameters():
        torch.nn.init.normal_(one, std=0.3)
    x = torch.randn(5, 2, dtype=torch.float64)
    z, volume = model.to_noise(x)
    torch.testing.assert_close(model.to_data(z), x, rtol=0, atol=1e-8)
    for point, change in zip(x, volume, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: model.to_noise(one[None])[0][0], point)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, change)


def test_points_outside_the_square_have_no_likelihood_under_cells() -> None:
    model = autoregressive.Autoregressive(1.0, cells=128)
    assert model.log_likelihood(torch.tensor([[1.5, 0.0], [0.0, -1.1]])).tolist() == [-math.inf, -math.inf]
    assert model.log_likelihood(torch.zeros(1, 2)).isfinite().all()


def test_the_critic_of_a_gan_pays_for_its_slope() -> None:
    critic = gan.Gan().critic
    real, fake, between = torch.randn(8, 2), torch.randn(8, 2), torch.rand(8, 1)
    for loss in ("r1", "wgan_gp"):
        free, paid = (float(gan.critic_loss(critic, real, fake, loss, rate, between)) for rate in (0.0, 1.0))
        x = (real if loss == "r1" else between * real + (1 - between) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x)
        norm = slope.norm(dim=1)
        due = norm.square().mean() / 2 if loss == "r1" else (norm - 1).square().mean()
        assert paid - free == pytest.approx(float(due), rel=1e-3, abs=1e-5)


def test_the_generator_teaches_its_critic_nothing() -> None:
    *_, last = gan.training(gaussian(), Training(steps=1, lr=0.0), 0)
    before = gan.Gan()
    assert last.model.calls == before.calls == 1
    still = gan.training(gaussian(), Training(steps=2, lr=0.0), 0)
    states = [[one.clone() for one in update.model.parameters()] for update in still]
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


@pytest.mark.parametrize("name", ["ring", "points.csv"])
def test_the_experiment_runs_on_other_shapes(name: str, tmp_path: Path) -> None:
    if name == "points.csv":
        name = str(tmp_path / name)
        Path(name).write_text("x,y\n" + "\n".join(f"{math.cos(k)},{math.sin(3 * k)}" for k in range(60)))
    outcome = families(shape=name, training=0.004, points=100)
    numbers = outcome.numbers
    assert ("data_log_likelihood" in numbers) == (not name.endswith("csv"))
    for family in FAMILIES:
        assert 0 <= numbers[f"{family.name}_coverage"] <= 1
        assert numbers[f"{family.name}_seconds_per_10000"] > 0
    assert numbers["diffusion_calls"] == 150
    assert not outcome.held, "models of a few updates are not as good as data"
    assert len(outcome.figure.axes) == 7


def test_the_data_itself_passes_for_perfect() -> None:
    shape = shapes.spiral()
    x, _ = shape.draw(CLOUDS * 2000, torch.Generator().manual_seed(9))
    found = judge(shape, 2000, 0).fit(x.reshape(CLOUDS, -1, 2))
    assert 0.6 < found["distance_over_data"] < 1.5
    assert found["coverage"] > 0.98
    assert found["precision"] == pytest.approx(0.99, abs=0.01)


def test_a_cloud_that_drops_a_third_of_the_spiral_is_found_out() -> None:
    shape = shapes.spiral()
    x, _ = shape.only(0).draw(CLOUDS * 500, torch.Generator().manual_seed(9))
    found = judge(shape, 500, 0).fit(x.reshape(CLOUDS, -1, 2))
    assert found["distance_over_data"] > 5
    assert found["coverage"] < 0.4
    assert found["precision"] > 0.97


def test_every_family_is_as_its_tuning_chose() -> None:
    """By the page: the least distance of a family's six is the one in bold, and its setting is the family's."""
    head, _, *rows = [line.strip("| \n").split(" | ") for line in tune.PAGE.read_text().splitlines() if "|" in line]
    for family in FAMILIES:
        mine = [row for row in rows if row[0] == family.title]
        cells = {
            (row[1], int(row[2]), rate): cell for row in mine for rate, cell in zip(head[4:], row[4:], strict=True)
        }
        assert len(cells) == 6
        (chosen,) = [setting for setting, cell in cells.items() if cell.startswith("**")]
        numbers = {setting: float(cell.strip("*")) for setting, cell in cells.items() if cell != "diverged"}
        assert numbers[chosen] == min(numbers.values())
        assert VARIANTS[family.name][chosen[0]] is family
        assert chosen[1:] == (family.how.steps, f"lr {family.how.lr}")


def test_an_interrupted_tuning_continues_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"gan": {name: replace(one, how=replace(one.how, steps=2)) for name, one in VARIANTS["gan"].items()}}
    monkeypatch.setattr(tune, "VARIANTS", few)
    monkeypatch.setattr(tune, "SETTINGS", replace(tune.SETTINGS, points=100))
    path = tmp_path / "runs.jsonl"
    whole = tune.tune(path)
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["lr"] for line in lines] == [0.003, 0.01, 0.03] * 2
    marked = json.dumps(json.loads(lines[0]) | {"distance": -1.0}) + "\n"  # what is there is not run again
    path.write_text("".join([marked, *lines[1:-1]]))
    assert tune.tune(path) == [whole[0]._replace(distance=-1.0), *whole[1:]]
    assert path.read_text().splitlines(keepends=True) == [marked, *lines[1:]]


def test_a_diverged_run_is_marked_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "VARIANTS", {"gan": VARIANTS["gan"]})
    found = dict(zip(tune.RATES, (math.nan, 2.5, 1e9), strict=True))
    runs = [tune.Run("gan", name, lr, 9, 1000, found[lr] + (name == "r1")) for name in VARIANTS["gan"] for lr in found]
    rows = tune.page(runs).splitlines()
    assert "| GAN | r1 | 9 | 1,000 | diverged | 3.500 | diverged |" in rows
    assert "| GAN | wgan_gp | 9 | 1,000 | diverged | **2.500** | diverged |" in rows
