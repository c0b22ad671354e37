"""A run without numbers: the shapes of a true run, its way through the code, and the bytes that it holds."""

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.hollow_calls import Known
from scorefield.core.hollow_run import HollowRun
from scorefield.core.hollow_tensor import Hollow
from scorefield.latent.film_codec import FilmCodec
from scorefield.latent.wan_latents import WAN_21
from scorefield.nets import attention_cpu
from scorefield.nets.causal_layers import Stream
from scorefield.nets.causal_vae import CausalVae, CausalVaeConfig, Decoder
from scorefield.nets.kl import KL, Kl
from scorefield.nets.layers import attend
from scorefield.nets.umt5 import Umt5Config, Umt5Encoder
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.nets.video_dit import VideoDit, VideoDitConfig

CPU = torch.device("cpu")
UNET = UnetConfig(channels=32, multipliers=(1, 2, 2), depths=(1, 1, 0), heads=4, context_width=24)
DIT = VideoDitConfig(width=32, mlp_width=48, depth=2, heads=2, text_width=32)
TEXT = Umt5Config(vocab_size=50, width=32, layers=2, heads=2, head_width=8, mlp_width=48)
SHORT = CausalVaeConfig(width=8, decoder_width=8, multipliers=(1, 2), resblocks=1, halves_time=(True,))


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


class Forgetful(Known):
    """Every call runs again."""

    @property
    def calls(self) -> dict[object, Any]:  # type: ignore[override]
        return {}

    @calls.setter
    def calls(self, _: object) -> None: ...


def film_peaks(known: Known, tile: int, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, int], int, int]:
    """What decoding a long film holds at most and at the end, and how often the decoder runs."""
    runs, forward = [], Decoder.forward
    monkeypatch.setattr(Decoder, "forward", lambda *given: (runs.append(0), forward(*given))[1])
    with torch.device("meta"):
        codec = FilmCodec(CausalVae(SHORT), WAN_21)
    with torch.no_grad(), HollowRun(CPU, known=known) as run:
        run.watch("codec", codec)
        kept = [*codec.decode(torch.empty(1, 16, 8, 8, 12, device="meta"), tile)]
        assert sum(one.shape[1] for one in kept) == 1 + 2 * 7
        return dict(run.peaks), run.live, len(runs)


@pytest.mark.parametrize("tile", [1024, 16])
def test_a_film_holds_what_it_would_if_each_of_its_chunks_and_tiles_ran(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Known()
    exact, *found = (film_peaks(one, tile, monkeypatch) for one in (Forgetful(), known, known))
    assert [one[:2] for one in found] == [exact[:2]] * 2
    assert exact[2] == 8 * (2 if tile == 16 else 1)
    assert [one[2] for one in found] == [4, 0]  # until the stream holds what it held before


def test_a_call_that_hands_on_memory_of_others_is_not_remembered() -> None:
    class Held(nn.Linear):
        """Each call keeps its input, or gives a part of its own result."""

        def __init__(self, part: int, keeps: bool) -> None:
            super().__init__(8, 8)
            self.part, self.keeps = part, keeps

        def forward(self, x: Tensor, stream: Stream) -> Tensor:
            if self.keeps:
                stream.past[self] = x
            return super().forward(x)[:, : self.part]

    for part, keeps in ((8, True), (4, False)):
        found = []
        for known in (Forgetful(), Known()):
            with torch.device("meta"):
                net, stream = Held(part, keeps), Stream(1)
            with torch.no_grad(), HollowRun(CPU, known=known) as run:
                run.watch("net", net)
                for _ in range(4):
                    x = torch.empty(100, 8, device="meta")
                    y = net(x, stream)
                    del x
                found.append((run.peaks["net"], run.live, y.shape))
                del y
                stream.past.clear()
        assert found[0] == found[1]


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
