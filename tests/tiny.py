"""Sizes of Stable Diffusion that a test can hold: of the first family, of the second, and of XL."""

from dataclasses import replace

from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import EncoderConfig, TextConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig

TEXT = TextConfig(width=32, layers=2, heads=4, context_length=77, vocab_size=49408, end_id=49407)
TINY = Networks(
    unet=UnetConfig(channels=32, multipliers=(1, 2), resblocks=1, depths=(1, 0), heads=4, context_width=32),
    kl=KlConfig(width=32, multipliers=(1, 1, 1, 1), resblocks=1),
    text=EncoderConfig(text=TEXT),
)
TINY_2 = Networks(
    unet=replace(TINY.unet, heads=None, head_width=16, linear_projections=True),
    kl=TINY.kl,
    text=EncoderConfig(text=TEXT, activation="gelu"),
    openclip=EncoderConfig(text=replace(TEXT, layers=3), embed_dim=32, activation="gelu", skip=1),
)
TINY_XL = Networks(
    unet=replace(TINY_2.unet, depths=(0, 2), middle_depth=2, context_width=2 * TEXT.width, pooled_width=32 + 6 * 8),
    kl=TINY.kl,
    text=EncoderConfig(text=TEXT, skip=1, normed=False),
    text_2=EncoderConfig(text=TEXT, embed_dim=32, activation="gelu", skip=1, normed=False),
)
