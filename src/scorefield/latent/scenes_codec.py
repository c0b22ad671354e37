"""The codec of the embedded model, whose file has the statistics of its latents by channel."""

import torch
from torch import Tensor

from scorefield.latent.latent_codec import LatentCodec
from scorefield.nets.autoencoder import Autoencoder


class Codec(LatentCodec):
    """An autoencoder, the mean `shift` (C,) and deviation `scale` (C,) of its latents, and the map of its previews.

    In a new codec, shift and scale change nothing and the preview is grey.
    """

    autoencoder: Autoencoder
    shift: Tensor
    scale: Tensor

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__(autoencoder, Autoencoder.encode, Autoencoder.decode)
        channels = autoencoder.config.channels
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("preview_weight", torch.zeros(3, channels))
        self.register_buffer("preview_bias", torch.zeros(3))
