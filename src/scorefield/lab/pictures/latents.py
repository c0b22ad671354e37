"""A picture is not drawn in pixels but in latents, 24 times fewer numbers, and the difference is hardly visible.

Diffusion on pixels spends most of its work on details that nobody looks at. So the walk takes place elsewhere: an
autoencoder turns a picture of 128 x 128 pixels and three colours into eight channels of 16 x 16 numbers, and back,

    128 * 128 * 3 = 49,152 numbers   ->   8 * 16 * 16 = 2,048 numbers,        a factor of 24.

A channel is still a picture of sorts: the thing is at the same place. Channels are scaled to mean 0 and deviation 1,
since the noise added to them has deviation 1; a codec without this factor makes every noise level wrong. Since one
number along a side covers eight pixels, sides must be multiples of eight.

The experiment encodes scenes that were held out from all training, decodes them again, and looks at the difference. Its
measure is the peak signal-to-noise ratio,

    PSNR = 10 log10(255^2 / mean squared error).

At 28 dB, a root mean square error of ten of 255, one has to look twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from scorefield.data.scenes import Scene
from scorefield.evals.adherence import renders
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 16
FACTOR = 8  # pixels per latent along a side
SHOWN, SPAN, AMPLIFIED = 4, 3.0, 5  # scenes in the figure, latents from black to white, and the drawn difference


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentsSettings(Settings):
    """The number of held-out scenes."""

    pictures: Annotated[int, Field(ge=8, le=10_000)] = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Latents:
    """Pictures (B, 3, H, W), their latents (B, C, h, w), the decoded pictures, and their PSNR (B,)."""

    pictures: Tensor
    x0: Tensor
    decoded: Tensor
    psnr: Tensor
    numbers: Mapping[str, float]


def run(settings: LatentsSettings, watch: Watch) -> Latents:
    """Encode and decode."""
    codec = embedded.codec()
    pictures = renders(_held_out(settings))
    x0, decoded = [], []
    parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    with torch.no_grad():
        for some in watch(parts, "there and back", len(parts)):
            x0.append(codec.encode(embedded.pixels(some)))
            decoded.append(embedded.bytes_of(embedded.images(x0[-1])))
    latents, back = torch.cat(x0).cpu(), torch.cat(decoded)
    psnr = measure.psnr(back, pictures)
    off = (back.int() - pictures.int()).abs().amax(1)
    numbers = {
        "mean_psnr_db": float(psnr.mean()),
        "lowest_psnr_db": float(psnr.min()),
        "pixels_to_latents": pictures[0].numel() / latents[0].numel(),
        "mean_of_latents": float(latents.mean()),
        "deviation_of_latents_off_1": abs(float(latents.std()) - 1),
        "share_of_pixels_off_by_a_tenth": float((off > 25).float().mean()),
        "sizes_judged_wrongly": float(sum(_fits(side) != (side % FACTOR == 0) for side in range(120, 137))),
    }
    return Latents(pictures=pictures, x0=latents, decoded=back, psnr=psnr, numbers=numbers)


def _held_out(settings: LatentsSettings) -> list[Scene]:
    return list(islice(embedded.held_out(settings.seed), settings.pictures))


def _fits(side: int) -> bool:
    """Whether the codec accepts pictures of that width."""
    try:
        embedded.codec().shape(side, 128)
    except ValueError:
        return False
    return True


def draw(result: Latents) -> "Figure":
    """Draw pictures, the channels of their latents, the decoded pictures, the difference, and all PSNRs."""
    figure, (above, below) = style.figure(2, 1, width=8.0, height=5.4)
    panel.ratios(above, heights=(3.2, 1.5))
    size = result.pictures.shape[-1]
    grey = (result.x0[:SHOWN] / SPAN + 1).mul(127.5).clamp(0, 255).to(torch.uint8)
    channels = interpolate(grey, size=(size, size), mode="nearest")[:, :, None].expand(-1, -1, 3, -1, -1)
    before, after = result.pictures[:SHOWN, None], result.decoded[:SHOWN, None]
    apart = ((after.int() - before.int()) * AMPLIFIED + 128).clamp(0, 255).to(torch.uint8)
    names = ["picture", *(str(k + 1) for k in range(channels.shape[1])), "and back", f"{AMPLIFIED} x diff."]
    title = f"the {channels.shape[1]} channels of the latents"
    panel.show(above, torch.cat([before, channels, after, apart], 1), names, title=title)
    below.hist(result.psnr.numpy(), bins=24, color=style.LEARNED, alpha=0.85)
    below.axvline(float(result.psnr.mean()), color=style.DATA, label=f"mean {float(result.psnr.mean()):.1f} dB")
    below.set(xlabel="PSNR of a picture that went there and back, in dB", ylabel="scenes")
    style.legend(below, "upper right")
    return figure


latents = Experiment(
    name="latents",
    claim="A picture survives as 24 times fewer numbers: its difference from what they give back is hard to see.",
    criteria=(
        Criterion("mean_psnr_db", ">=", 28.0),
        Criterion("lowest_psnr_db", ">=", 22.0),
        Criterion("pixels_to_latents", ">=", 24.0),
        Criterion("share_of_pixels_off_by_a_tenth", "<=", 0.05),
        Criterion("deviation_of_latents_off_1", "<=", 0.1),
        Criterion("sizes_judged_wrongly", "<=", 0.0),
    ),
    settings=LatentsSettings,
    run=run,
    draw=draw,
)
