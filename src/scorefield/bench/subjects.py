"""The networks that are measured: ours, their weights in diffusers' layout, and what diffusers builds them from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from scorefield.nets.causal_layers import Stream
from scorefield.nets.causal_vae import WAN_VAE, CausalVae, CausalVaeConfig
from scorefield.nets.unet import SD1, SD2, Unet, UnetConfig
from scorefield.nets.unet_blocks import CrossAttention, SelfAttention
from scorefield.nets.video_dit import WAN_T2V_1_3B, VideoDit, VideoDitConfig
from scorefield.weights.key_map import Entry
from scorefield.weights.key_maps import unet_keys, wan_keys, wan_vae_keys

TOKENS = 77
FRAMES = 17

Given = tuple[Tensor, ...]  # what a network is called with


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network, the same in diffusers, and an input of theirs both."""

    part: str
    build: Callable[[], nn.Module]
    entries: Sequence[Entry]
    size: int  # pixels along a side, unless another is asked for
    step: Callable[[nn.Module], Callable[..., Tensor]]  # the work that is measured, of our network
    given: Callable[[Generator, int], Given]  # float32, for pixels along a side
    queries: Callable[[nn.Module], Iterator[Tensor]]  # weights of ours by which queries are scaled
    peer: str  # its class in diffusers
    peer_config: Mapping[str, object]
    peer_method: str  # that does the work
    peer_queries: str  # how the names of those weights end in diffusers


def _unet(config: UnetConfig) -> Subject:
    widths = [config.channels * multiplier for multiplier in config.multipliers]

    def given(generator: Generator, size: int) -> Given:
        """x (2, 4, size / 8, size / 8), time (2,) and tokens (2, 77, width) of a step with guidance."""
        x = torch.randn(1, config.in_channels, size // 8, size // 8, generator=generator).repeat(2, 1, 1, 1)
        return x, torch.full((2,), 500.0), torch.randn(2, TOKENS, config.context_width, generator=generator)

    def queries(net: nn.Module) -> Iterator[Tensor]:
        for module in net.modules():
            if isinstance(module, SelfAttention):
                yield module.qkv.weight[: module.qkv.in_features]
            elif isinstance(module, CrossAttention):
                yield module.q.weight

    return Subject(
        part="U-Net",
        build=lambda: Unet(config),
        entries=list(unet_keys.diffusers(config)),
        size=512,
        step=lambda net: net,
        given=given,
        queries=queries,
        peer="UNet2DConditionModel",
        peer_config={
            "in_channels": config.in_channels,
            "block_out_channels": widths,
            "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in config.depths],
            "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(config.depths)],
            "layers_per_block": config.resblocks,
            "cross_attention_dim": config.context_width,
            # The number of heads, despite its name: huggingface/diffusers#2011.
            "attention_head_dim": [config.heads_at(width) for width in widths],
            "use_linear_projection": config.linear_projections,
        },
        peer_method="forward",
        peer_queries="to_q.weight",
    )


def _video_dit(config: VideoDitConfig) -> Subject:
    def given(generator: Generator, size: int) -> Given:
        """x (2, 16, 5, size / 8, size / 8), time (2,) and tokens (2, 512, width) of a step with guidance."""
        shape = 1, config.in_channels, 1 + FRAMES // 4, size // 8, size // 8
        x = torch.randn(shape, generator=generator).repeat(2, 1, 1, 1, 1)
        return x, torch.full((2,), 500.0), torch.randn(2, config.text_length, config.text_width, generator=generator)

    def queries(net: nn.Module) -> Iterator[Tensor]:
        return (weight for name, weight in net.named_parameters() if name.endswith("query_norm.weight"))

    return Subject(
        part="video transformer",
        build=lambda: VideoDit(config),
        entries=list(wan_keys.diffusers(config)),
        size=256,
        step=lambda net: net,
        given=given,
        queries=queries,
        peer="WanTransformer3DModel",
        peer_config={
            "patch_size": config.patch_size,
            "num_attention_heads": config.heads,
            "attention_head_dim": config.width // config.heads,
            "in_channels": config.in_channels,
            "out_channels": config.out_channels,
            "text_dim": config.text_width,
            "freq_dim": config.time_features,
            "ffn_dim": config.mlp_width,
            "num_layers": config.depth,
        },
        peer_method="forward",
        peer_queries="norm_q.weight",
    )


def _causal_vae(config: CausalVaeConfig) -> Subject:
    def given(generator: Generator, size: int) -> Given:
        """The latents (1, 16, 5, size / 8, size / 8) of a film."""
        return (torch.randn(1, config.channels, 1 + FRAMES // 4, size // 8, size // 8, generator=generator),)

    def step(net: nn.Module) -> Callable[..., Tensor]:
        assert isinstance(net, CausalVae)

        def decode(latents: Tensor) -> Tensor:
            """The frames in diffusers' order, made latent by latent, as `FilmCodec` has them."""
            stream = Stream(len(latents))
            film = torch.cat([net.decode(one, stream) for one in torch.split(latents, 1, 2)], 1)
            return film.clamp(-1, 1).transpose(1, 2)

        return decode

    return Subject(
        part="autoencoder",
        build=lambda: CausalVae(config),
        entries=list(wan_vae_keys.diffusers(config)),
        size=256,
        step=step,
        given=given,
        queries=lambda net: iter(()),
        peer="AutoencoderKLWan",
        peer_config={
            "base_dim": config.width,
            "z_dim": config.channels,
            "dim_mult": config.multipliers,
            "num_res_blocks": config.resblocks,
            "temperal_downsample": config.halves_time,
        },
        peer_method="decode",
        peer_queries="none",
    )


SUBJECTS: Mapping[str, Subject] = {
    "sd15": _unet(SD1),
    "sd21": _unet(SD2),
    "wan-1.3b": _video_dit(WAN_T2V_1_3B),
    "wan-vae": _causal_vae(WAN_VAE),
    # To try the command.
    "tiny": _unet(UnetConfig(channels=32, multipliers=(1, 2, 2), depths=(1, 1, 0), heads=4, context_width=24)),
    "tiny-wan": _video_dit(VideoDitConfig(width=48, mlp_width=64, depth=2, heads=4, text_width=24, text_length=16)),
    "tiny-wan-vae": _causal_vae(CausalVaeConfig(width=8, decoder_width=8)),
}
