"""The codec of films: a causal autoencoder run as a stream, the statistics of its latents, and a linear preview."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half_precision import HALVES, dtype_of, in_float32, no_autocast
from scorefield.core.presence import OnDemand, present
from scorefield.latent import tiling
from scorefield.latent.wan_latents import FilmLatents
from scorefield.nets.causal_layers import Stream
from scorefield.nets.causal_vae import CausalVae
from scorefield.notes import HalfPrecisionWarning, note

Side = Callable[[CausalVae, Tensor, Stream], Tensor]  # an autoencoder, a chunk and its stream


class FilmSize(Protocol):
    """The size of a film."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def frames(self) -> int: ...


class FilmCodec(nn.Module):
    """A causal autoencoder with x0 = (latents - mean) / deviation, (B, C, T, h, w) of about unit variance.

    It encodes to the mean of the encoder's distribution, not to a sample. Films go through it a latent at a time, so
    memory does not grow with their length; only a film that is cut into tiles is kept whole, as pixels.
    Arguments and results are float32; the autoencoder runs in its own dtype, and samples that are not finite in half
    precision run again in float32, with a HalfPrecisionWarning.
    """

    mean: Tensor
    deviation: Tensor
    preview_weight: Tensor
    preview_bias: Tensor

    def __init__(self, autoencoder: CausalVae, latents: FilmLatents) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.on_demand: OnDemand[nn.Module] | None = getattr(autoencoder, "on_demand", None)
        *weight, bias = torch.tensor(latents.colours, dtype=torch.float32)
        buffers = {
            "mean": torch.tensor(latents.mean, dtype=torch.float32)[:, None, None, None],
            "deviation": torch.tensor(latents.deviation, dtype=torch.float32)[:, None, None, None],
            "preview_weight": torch.stack(weight, 1),
            "preview_bias": bias,
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    @property
    def stride(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels per latent; the first frame of a film has a latent of its own."""
        return self.autoencoder.stride

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the autoencoder runs in."""
        return dtype_of(self.autoencoder)

    def shape(self, canvas: FilmSize) -> tuple[int, int, int, int]:
        """(C, T, h, w) of the latents of a film; ValueError for a number of frames or a side that does not fit."""
        return self.autoencoder.latent_shape(canvas.frames, canvas.height, canvas.width)

    def forward(self, latents: Tensor) -> Tensor:
        """The whole film (B, F, 3, H, W) in [-1, 1] of the autoencoder's own `latents` (B, C, T, h, w)."""
        return torch.cat(list(self._decoded(latents)), 1)

    def encode(self, frames: Tensor, tile: tiling.Tile = "auto") -> Tensor:
        """x0 (B, C, T, h, w) of `frames` (B, F, 3, H, W) in [-1, 1]."""
        _, _, height, width = self.autoencoder.latent_shape(frames.shape[1], *frames.shape[-2:])
        tiles = tiling.spans(height, width, self.stride[1], tile)
        with present(self.autoencoder):
            if tiles is None:
                latents = self._encoded(frames)
            else:
                films, side = torch.split(frames, 1), self.stride[1]
                latents = torch.cat([tiling.blended(self._encoded, one, *tiles, side, 1) for one in films])
        return (latents - self.mean.float()) / self.deviation.float()

    def decode(self, x0: Tensor, tile: tiling.Tile = "auto") -> Iterator[Tensor]:
        """The frames (B, F, 3, H, W) in [-1, 1] of `x0` (B, C, T, h, w): the first one, then each latent's."""
        latents = x0 * self.deviation.float() + self.mean.float()
        tiles = tiling.spans(x0.shape[-2], x0.shape[-1], self.stride[1], tile)
        with present(self.autoencoder):
            if tiles is None:
                yield from self._decoded(latents)
            else:
                one_by_one = torch.split(latents, 1)
                film = torch.cat([tiling.blended(self, one, *tiles, 1, self.stride[1]) for one in one_by_one])
                yield from self._chunks(film)

    def preview(self, x0: Tensor) -> Tensor:
        """Small frames (B, T, 3, h, w) in [-1, 1] of `x0` (B, C, T, h, w), at the cost of one product."""
        with no_autocast():
            weight, bias = self.preview_weight.float()[..., None, None, None], self.preview_bias.float()
            return F.conv3d(x0.float(), weight, bias).transpose(1, 2).clamp(-1, 1)

    def _encoded(self, frames: Tensor) -> Tensor:
        return torch.cat(list(_streamed(_mean, self.autoencoder, self._chunks(frames), self.dtype)), 2)

    def _decoded(self, latents: Tensor) -> Iterator[Tensor]:
        for frames in _streamed(CausalVae.decode, self.autoencoder, torch.split(latents, 1, 2), self.dtype):
            yield frames.clamp(-1, 1)

    def _chunks(self, frames: Tensor) -> Sequence[Tensor]:
        """`frames` (B, F, 3, H, W) in the parts that have a latent each."""
        step = self.stride[0]
        return torch.split(frames, [1, *[step] * ((frames.shape[1] - 1) // step)], 1)


def _mean(autoencoder: CausalVae, frames: Tensor, stream: Stream) -> Tensor:
    return autoencoder.encode(frames, stream)[0]


def _streamed(side: Side, net: CausalVae, chunks: Sequence[Tensor], dtype: torch.dtype) -> Iterator[Tensor]:
    """`side` of each chunk (B, ...), run in `dtype`, in float32.

    Samples that half precision makes not finite run again in float32 from the start: their stream is spoilt.
    """
    stream, broken = Stream(len(chunks[0])), torch.zeros(len(chunks[0]), dtype=torch.bool, device=chunks[0].device)
    repaired: Iterator[Tensor] = iter(())
    for k, chunk in enumerate(chunks):
        with no_autocast():
            out = side(net, chunk.to(dtype), stream).float()
            if dtype in HALVES:
                known, broken = broken, broken | ~torch.isfinite(out).flatten(1).all(1)
                if not torch.equal(known, broken):
                    samples = ", ".join(map(str, broken.nonzero().flatten().tolist()))
                    text = f"({dtype}) is not finite in sample {samples} of the batch; computed again in float32"
                    note(HalfPrecisionWarning, f"the autoencoder's answer {text}")
                    again = _streamed(side, in_float32(net), [part[broken] for part in chunks], torch.float32)
                    repaired = islice(again, k, None)
                if broken.any():
                    out = out.index_put((broken,), next(repaired))
        yield out
