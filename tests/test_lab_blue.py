"""The experiment on wishes, the paths of its gradients, and the count of the memory that they hold."""

import pytest
import torch
from tests import legible
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scorefield.core.level import Level
from scorefield.evals.judge import Found, Seen
from scorefield.lab.experiment import LabError
from scorefield.lab.pictures import blue, embedded
from scorefield.lab.pictures.memory import Peak

SIZE = 4000  # bytes of a thousand float32


def of_colour(*channels: float) -> Tensor:
    """Pixels (1, 3, 4, 4) in [-1, 1] of one colour, given in 0..1."""
    return (2 * torch.tensor(channels) - 1)[None, :, None, None].expand(1, 3, 4, 4)


def test_the_wish_is_a_blue_of_nine_tenths_and_red_and_green_are_free() -> None:
    pixels = torch.cat([of_colour(0, 0, 0.9), of_colour(1, 0.3, 0.9), of_colour(0.9, 0.9, 0), of_colour(0, 0, 1)])
    assert blue.blueness(pixels).tolist() == pytest.approx([0, 0, 0.81, 0.01], abs=1e-6)


def test_a_pixel_is_as_far_from_the_palette_as_from_its_nearest_colour() -> None:
    colours = torch.tensor(blue.PALETTE) / 255
    on = torch.cat([of_colour(*colour) for colour in colours.tolist()])
    assert blue.off_palette(on).tolist() == pytest.approx([0] * 4, abs=1e-12)
    assert blue.off_palette(on + 0.02).tolist() == pytest.approx([3 * 0.01**2] * 4, rel=1e-4)
    half = torch.cat([on[:1, :, :2], on[1:2, :, :2] + 0.02], 2)
    assert blue.off_palette(half).item() == pytest.approx(3 * 0.01**2 / 2, rel=1e-4)


def energy(x0: Tensor) -> Tensor:
    """A loss whose gradient is its argument."""
    return x0.square().sum((1, 2, 3)) / 2


def moment() -> tuple[Tensor, Level]:
    """A state in the middle of a walk, and its level."""
    return embedded.start([5]).initial, embedded.levels(4)[2]


@torch.no_grad()
def test_the_cheap_path_is_the_guided_prediction_less_the_gradient_at_it() -> None:
    cond, (x, at) = embedded.words(["a cat"]), moment()
    plain = embedded.guided(cond)(x, at)
    assert torch.equal(blue.cheap(cond, energy, 0.0)(x, at), plain)
    share = at.sigma**2 / (at.alpha**2 + at.sigma**2)
    assert torch.allclose(blue.cheap(cond, energy, 0.7)(x, at), plain - 0.7 * share * plain, atol=1e-5)


def test_the_exact_path_pulls_the_conditional_prediction_through_the_network() -> None:
    (x, at), cond = moment(), embedded.words(["a cat"])
    leaf = x.clone().requires_grad_()
    told = embedded.guided(cond, 1.0)(leaf, at)
    (gradient,) = torch.autograd.grad(energy(told).sum(), leaf)
    assert gradient.abs().max() > 1e-3
    strength = embedded.pipeline().stage.spec.defaults.cfg_scale
    with torch.no_grad():
        plain = embedded.guided(cond)(x, at)
        assert torch.allclose(blue.exact(cond, energy, 0.0)(x, at), plain, atol=1e-4)
        pulled = blue.exact(cond, energy, 0.3)(x, at)
        assert torch.allclose(pulled, plain - strength * 0.3 * at.sigma**2 * gradient, atol=1e-3)
        assert torch.allclose(blue.exact(cond, energy, 0.3, checkpointed=True)(x, at), pulled, atol=1e-5)


def test_without_a_pull_every_way_draws_the_same_and_the_exact_gradient_holds_most_memory() -> None:
    outcome = blue.blue(pictures=1, steps=5, cheap_scale=0, exact_scale=0)
    plain, cheap, exact, palette = outcome.result.pictures.int()
    assert torch.equal(cheap, plain)
    assert torch.equal(palette, plain)
    assert (exact - plain).abs().max() <= 2  # of 255: its guidance runs the network twice, not on a batch of two
    numbers = outcome.numbers
    assert numbers["blue_without"] == pytest.approx(plain[:, 2].float().mean().item() / 255)
    assert numbers["no_wish_off_the_wish"] == pytest.approx(abs(0.9 - numbers["blue_without"]))
    assert numbers["distance_to_the_palette_over_that_without"] == 1
    held = {one.number: one.holds(numbers) for one in blue.blue.criteria}  # of the architecture, not of what it learned
    assert held["memory_exact_over_cheap"]
    assert held["memory_checkpointed_over_exact"]
    assert held["difference_of_checkpointed_and_exact"]
    assert legible.faults(outcome.figure) == []


def test_the_wish_is_asked_for_at_some_steps_and_moves_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is measured above; here nothing but the walks."""
    costs = dict.fromkeys(blue.WAYS, 1.0)
    monkeypatch.setattr(blue, "_costs", lambda *_: (costs, costs, 0.0))
    asked: list[int] = []

    def watched(pixels: Tensor) -> Tensor:
        asked.append(len(pixels))
        return ((pixels + 1) / 2 - blue.BLUE).square().mean((1, 2, 3))

    monkeypatch.setattr(blue, "blueness", watched)
    fire, nothing = Seen((Found(blue.THING, 64, 64, 0.9, None, None),), "night"), Seen((), "night")
    judged = iter([[fire, fire], [fire, nothing], [nothing, nothing], [fire, fire]])
    monkeypatch.setattr(embedded, "look", lambda pictures: next(judged))
    outcome = blue.blue(pictures=2, steps=6, cheap_every=4, exact_every=3)
    assert asked == [2] * (2 + 2)  # the cheap path at steps 0 and 4, the exact one at 1 and 4, both pictures at once
    pictures, numbers = outcome.result.pictures, outcome.numbers
    assert len({tuple(one.flatten()[:3000].tolist()) for one in pictures}) == 4
    for k, name in enumerate(("without", "by_the_cheap_path", "by_the_exact_path")):
        assert numbers[f"blue_{name}"] == pytest.approx(pictures[k, :, 2].float().mean().item() / 255)
    without, palette = (blue.off_palette(embedded.pixels(pictures[k])).mean().item() for k in (0, 3))
    assert numbers["distance_to_the_palette_over_that_without"] == pytest.approx(palette / without)
    shares = [numbers[f"share_still_a_campfire_by_the_{name}_path"] for name in ("cheap", "exact")]
    assert shares == [0.5, 0]


@pytest.mark.parametrize("given", [{"exact_every": 0}, {"cheap_scale": -1}, {"steps": 4}, {"pictures": 0}])
def test_a_wish_that_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(LabError, match=f"blue: {next(iter(given))}="):
        blue.blue(**given)


def test_the_peak_is_the_most_that_lives_at_once() -> None:
    with Peak() as peak:
        a = torch.ones(1000)
        b = a * 2
        del a
        c = b + 1  # b and c live, a is gone
        assert peak.bytes == 2 * SIZE
        d = torch.cat([b, c])
    assert peak.bytes == 4 * SIZE
    assert d.sum() == 5000


def test_room_that_is_given_back_is_not_counted_twice() -> None:
    with Peak() as peak:
        for _ in range(100):
            torch.ones(1000)
    assert peak.bytes == SIZE


def test_views_changes_in_place_and_what_was_there_before_cost_nothing() -> None:
    before = torch.ones(1000)
    with Peak() as peak:
        before.view(10, 100).T[3:].add_(1)
        before.mul_(2)
    assert peak.bytes == 0
    with Peak() as peak:
        kept = torch.ones(1000)[:1]  # a view of a thousand keeps a thousand
        torch.ones(1000)
    assert peak.bytes == 2 * SIZE
    assert kept.item() == 1


def chain(x: Tensor) -> Tensor:
    for _ in range(10):
        x = x.sin()
    return x


def test_a_gradient_holds_what_it_needs_on_the_way_back_and_a_checkpoint_does_not() -> None:
    """A sine keeps its input; x was there before, so ten of them keep nine of their own beside the last."""
    x = torch.ones(1000, requires_grad=True)
    with torch.no_grad(), Peak() as peak:
        chain(x)
    assert peak.bytes == 2 * SIZE
    with Peak() as peak:
        y = chain(x)
    assert peak.bytes == 10 * SIZE
    with Peak() as peak:
        z = checkpoint(chain, x, use_reentrant=False, preserve_rng_state=False)
    assert peak.bytes == 2 * SIZE
    assert torch.equal(torch.autograd.grad(z.sum(), x)[0], torch.autograd.grad(y.sum(), x)[0])


def test_the_way_back_is_counted_too() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = x.sin().sum()
    with Peak() as peak:
        (gradient,) = torch.autograd.grad(y, x)
    assert gradient.shape == x.shape
    assert peak.bytes == 2 * SIZE + 4  # the cosine, the gradient, and the 1 that it starts from
