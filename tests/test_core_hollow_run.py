"""A run without numbers: the shapes of a true run, its way through the code, and the bytes that it holds."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.hollow_run import Hollow, HollowRun
from scorefield.nets import attention_cpu
from scorefield.nets.causal_layers import Stream
from scorefield.nets.causal_vae import CausalVae, CausalVaeConfig
from scorefield.nets.kl import KL, Kl
from scorefield.nets.layers import attend
from scorefield.nets.umt5 import Umt5Config, Umt5Encoder
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.nets.video_dit import VideoDit, VideoDitConfig

CPU = torch.device("cpu")
UNET = UnetConfig(channels=32, multipliers=(1, 2, 2), depths=(1, 1, 0), heads=4, context_width=24)
DIT = VideoDitConfig(width=32, mlp_width=48, depth=2, heads=2, text_width=32)
TEXT = Umt5Config(vocab_size=50, width=32, layers=2, heads=2, head_width=8, mlp_width=48)


def unet(net: nn.Module, device: str) -> Tensor:
    return net(*(torch.zeros(size, device=device) for size in ((2, 4, 16, 16), (2,), (2, 7, 24))))


def film(net: nn.Module, device: str) -> Tensor:
    return net(*(torch.zeros(size, device=device) for size in ((1, 16, 2, 4, 4), (1,), (1, 9, 32))))


def words(net: nn.Module, device: str) -> Tensor:
    return net(torch.zeros(1, 9, dtype=torch.int64, device=device))


def decoded(net: nn.Module, device: str) -> Tensor:
    stream = Stream(1)
    chunks = [net.decode(torch.zeros(1, 16, 1, 4, 4, device=device), stream) for _ in range(3)]
    return torch.cat(chunks, 1)


NETWORKS = [
    (lambda: Unet(UNET), unet),
    (lambda: VideoDit(DIT), film),
    (lambda: Umt5Encoder(TEXT), words),
    (lambda: CausalVae(CausalVaeConfig(width=4, decoder_width=4, resblocks=1)), decoded),
]


@pytest.mark.parametrize(("build", "call"), NETWORKS)
def test_the_result_has_the_shape_strides_and_dtype_of_a_true_run(build, call) -> None:
    with torch.no_grad():
        expected = call(build().eval(), "cpu")
        with torch.device("meta"):
            net = build().eval()
        with HollowRun(CPU) as run:
            run.watch("net", net)
            made = call(net, "meta")
    assert isinstance(made, Hollow)
    assert (made.shape, made.dtype, made.device) == (expected.shape, expected.dtype, expected.device)
    assert made.stride() == expected.stride()
    held = made.meta.untyped_storage().nbytes()
    assert run.live == held
    assert run.peaks["net"] > held
    del made
    assert run.live == 0


@pytest.mark.filterwarnings("ignore:std")  # of one number, which has the dtype of any
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: torch.zeros_like(x, dtype=torch.float64),
        lambda x: x.std((1, 2, 3), keepdim=True),
        lambda x: x.mean((2, 3)),
        lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
        lambda x: torch.stack([x.contiguous(), x.contiguous()], 1),
        lambda x: torch.cat([x, x], 1),
        lambda x: x + torch.zeros(4, 1, 1, dtype=torch.float64).to(x.device),
        lambda x: x > 0,
        lambda x: x.argmax(1),
        lambda x: x.flatten()[torch.tensor([[1, 2]]).to(x.device)],
        lambda x: F.conv2d(x, torch.zeros(5, 4, 3, 3, device=x.device), stride=2, padding=1),
        lambda x: F.softmax(x.bfloat16(), -1),
    ],
)
def test_an_operator_gives_the_layout_that_it_gives_to_numbers(call, order: torch.memory_format) -> None:
    x = torch.rand(2, 4, 6, 8).contiguous(memory_format=order)
    with HollowRun(CPU):
        made = call(torch.empty(2, 4, 6, 8, device="meta", memory_format=order))
    expected = call(x)
    assert (made.shape, made.dtype, made.stride()) == (expected.shape, expected.dtype, expected.stride())


def test_memory_is_counted_while_it_is_held_and_views_cost_nothing() -> None:
    with HollowRun(CPU) as run:
        x = torch.empty(1000, 10, device="meta")
        view = x.view(10, 1000)[:, 5:].T
        assert run.live == 40_000
        y = x * 2
        assert run.live == 80_000
        y += 1
        del x, y
        assert run.live == 40_000  # the view holds it
        del view
    assert (run.live, run.peaks[""]) == (0, 80_000)


def test_layers_that_are_alike_run_once_and_count_the_same() -> None:
    class Slow(nn.Linear):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            Slow.runs += 1
            return super().forward(torch.cat([x, x], -1)[:, : x.shape[1]])

    with torch.device("meta"):
        net = nn.Sequential(*(Slow(8, 8) for _ in range(5)))
    with torch.no_grad(), HollowRun(CPU) as run:
        x = torch.empty(4, 8, device="meta")
        run.watch("net", net)
        first = net[0](x)
        once = run.peaks["net"]
        del first
        run.peaks["net"] = 0
        net(x)
    assert Slow.runs == 1
    assert run.peaks["net"] == once + 4 * 8 * 4  # the input of a later layer is held, too
    assert all("forward" not in vars(layer) for layer in net)


def test_our_own_attention_kernel_does_not_read_what_has_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_cpu, "_library", object())
    x = torch.zeros(1, 2, 8, 16, dtype=torch.bfloat16)
    assert attention_cpu.serves(x, x, x)
    with HollowRun(CPU):
        x = torch.empty(1, 2, 8, 16, dtype=torch.bfloat16, device="meta")
        assert not attention_cpu.serves(x, x, x)
        assert attend(x, x, x).shape == x.shape


def test_what_needs_no_hollow_tensor_is_computed() -> None:
    with HollowRun(CPU):
        ids = torch.tensor([3, 4])
        assert (ids + 1).tolist() == [4, 5]


def test_numbers_are_finite_and_nothing_else_is_known_of_them() -> None:
    with HollowRun(CPU):
        x = torch.empty(3, device="meta")
        assert torch.isfinite(x).all()
        assert not (~torch.isfinite(x)).any()
        with pytest.raises(RuntimeError, match="asks for one"):
            bool(x.sum() > 0)


def test_the_compiler_is_not_imported() -> None:
    """It takes two seconds and 100 MB."""
    code = (
        "import sys, torch\n"
        "from scorefield.core.hollow_run import HollowRun\n"
        "from scorefield.families.fill import hollow\n"
        "from tests.test_core_hollow_run import CPU, NETWORKS\n"
        "before = 'torch._dynamo' in sys.modules\n"
        "for build, call in NETWORKS:\n"
        "    with hollow(): net = build().eval()\n"
        "    with torch.no_grad(), HollowRun(CPU): call(net, 'meta')\n"
        "print(before, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_decoder_of_stable_diffusion_holds_what_was_measured() -> None:
    """Of 512 x 512 pixels in float32: 1.02 GB were measured by ru_maxrss (torch 2.13 on an AVX2 processor)."""
    with torch.device("meta"):
        net = Kl(KL).eval()
    with torch.no_grad(), HollowRun(CPU) as run:
        net.decode(torch.empty(1, 4, 64, 64, device="meta"))
    assert run.peaks[""] == pytest.approx(1.02e9, rel=0.15)
