"""The parts of a model by name, in the order of their turns: errors, hashes and plans call them so."""

from enum import StrEnum


class Part(StrEnum):
    """A network of a model, which is placed as a whole."""

    TEXT = "text encoder"
    TEXT_2 = "second text encoder"
    IMAGE = "image encoder"
    STATISTICS = "image statistics"
    UNET = "U-Net"
    TRANSFORMER = "video transformer"
    HIGH_NOISE = "high-noise transformer"
    LOW_NOISE = "low-noise transformer"
    AUTOENCODER = "autoencoder"
