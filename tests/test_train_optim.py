"""Muon against singular values and against AdamW; what decays."""

import copy

import pytest
import torch
from torch import Tensor, nn

from scorefield.train.optim import Muon, adamw, hidden_matrices, orthogonalise


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 24)])
        self.words = nn.Embedding(7, 12)
        self.out = nn.Linear(24, 3)

    def forward(self, index: Tensor) -> Tensor:
        x = self.words(index)
        for layer in self.inner:
            x = torch.tanh(layer(x))
        return self.out(x)


@pytest.fixture(params=[True, False], ids=["with bfloat16", "without bfloat16"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The dtype that orthogonalise takes on a processor that has, or has not, arithmetic for bfloat16."""
    monkeypatch.setattr("scorefield.train.optim.has_bfloat16", lambda device: request.param)
    return torch.bfloat16 if request.param else torch.float32


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
def test_orthogonalise_keeps_the_singular_vectors_and_evens_the_values(
    shape: tuple[int, int], fast: torch.dtype
) -> None:
    u, s, vt = torch.linalg.svd(torch.randn(3, *shape), full_matrices=False)
    s = s.clamp(min=0.05 * s.max())
    evened = s / s.norm(dim=1, keepdim=True)
    for _ in range(5):
        evened = 3.4445 * evened - 4.7750 * evened**3 + 2.0315 * evened**5
    assert evened.min() > 0.65
    assert evened.max() < 1.25
    made = orthogonalise(u @ torch.diag_embed(s) @ vt)
    assert made.dtype == fast
    assert made.isfinite().all()
    wanted = u @ torch.diag_embed(evened) @ vt
    # A rounding of each of the three terms that an iteration adds up: in bfloat16 of the last one, in float32 of all.
    rounding = (3.4445 + 4.7750 + 2.0315) * (2**-8 if fast == torch.bfloat16 else 5 * 2**-24)
    assert (made.float() - wanted).norm() / wanted.norm() < rounding


def test_a_batch_of_matrices_is_each_alone() -> None:
    matrices = torch.randn(4, 8, 20)
    alone = torch.cat([orthogonalise(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(orthogonalise(matrices), alone, rtol=0, atol=0.01)


def gradients(module: nn.Module) -> None:
    module.zero_grad()
    module(torch.arange(7)).square().mean().backward()


def test_muon_is_momentum_orthogonalised_and_scaled() -> None:
    module = Small()
    matrices = hidden_matrices(module, excluded=["out"])
    optimizer = Muon(module, matrices, lr=0.1, weight_decay=0.5, momentum=0.9)
    mean = torch.zeros(24, 12)
    for _ in range(3):
        gradients(module)
        weight, grad = matrices[2].detach().clone(), matrices[2].grad.clone()
        mean = 0.9 * mean + 0.1 * grad
        update = orthogonalise((0.1 * grad + 0.9 * mean)[None])[0].float()
        optimizer.step()
        torch.testing.assert_close(
            matrices[2].detach(), (1 - 0.1 * 0.5) * weight - 0.1 * 0.2 * 24**0.5 * update, rtol=0, atol=2e-3
        )


def test_a_convolution_is_the_matrix_of_its_kernel() -> None:
    conv, linear = nn.Conv2d(4, 6, 3, bias=False), nn.Linear(36, 6, bias=False)
    linear.weight.data.copy_(conv.weight.detach().flatten(1))
    for module, shape in ((conv, (6, 4, 3, 3)), (linear, (6, 36))):
        module.weight.grad = torch.linspace(-1, 1, 216).sin().reshape(shape)
        Muon(module, hidden_matrices(module), lr=0.1).step()
    torch.testing.assert_close(conv.weight.flatten(1), linear.weight, rtol=0, atol=1e-6)


def test_muon_is_adamw_for_the_rest() -> None:
    one = Small()
    two = copy.deepcopy(one)
    muon = Muon(one, hidden_matrices(one, excluded=["out"]), lr=0.01, weight_decay=0.1)
    adam = adamw(two, lr=0.01, weight_decay=0.1)
    for module, optimizer in ((one, muon), (two, adam)):
        gradients(module)
        optimizer.step()
    torch.testing.assert_close(one.out.weight, two.out.weight, rtol=0, atol=1e-7)
    torch.testing.assert_close(one.words.weight, two.words.weight, rtol=0, atol=1e-7)
    torch.testing.assert_close(one.inner[0].bias, two.inner[0].bias, rtol=0, atol=1e-7)
    assert not torch.allclose(one.inner[0].weight, two.inner[0].weight, rtol=0, atol=1e-3)


def test_muon_learns() -> None:
    module = Small()
    optimizer = Muon(module, hidden_matrices(module, excluded=["out"]), lr=0.02)
    wanted = torch.randn(7, 3)
    losses = []
    for _ in range(80):
        module.zero_grad()
        loss = (module(torch.arange(7)) - wanted).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.05 * losses[0]


def test_muon_continues_exactly_from_its_state() -> None:
    one = Small()
    first = Muon(one, hidden_matrices(one), lr=0.02)
    gradients(one)
    first.step()
    two = copy.deepcopy(one)
    second = Muon(two, hidden_matrices(two), lr=0.02)
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # it would share the tensors
    for module, optimizer in ((one, first), (two, second)):
        gradients(module)
        optimizer.step()
    assert all(map(torch.equal, one.parameters(), two.parameters()))


def test_vectors_do_not_decay_and_frozen_weights_are_left_out() -> None:
    module = Small()
    module.words.requires_grad_(False)
    groups = adamw(module, lr=1.0, weight_decay=0.1).param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [(0.1, {2}), (0, {1})]
    assert sum(len(group["params"]) for group in groups) == 8


def test_a_vector_is_no_matrix() -> None:
    module = Small()
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Muon(module, [module.out.bias], lr=0.1)
