"""A published conditioner with CLIP's own tokenizer and a small text encoder of random weights."""

import functools

import torch

from scorefield.nets.clip import EncoderConfig, TextConfig, TextEncoder
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.published import PublishedConditioner

TEXT = TextConfig(width=16, layers=2, heads=2, context_length=77, vocab_size=49408, end_id=49407)
TOKENIZER = ClipTokenizer.packaged()


@functools.cache
def conditioner() -> PublishedConditioner:
    """Its last states have a mean that is far from 0, as those of published encoders."""
    source = torch.Generator().manual_seed(0)
    encoder = TextEncoder(EncoderConfig(text=TEXT)).eval().requires_grad_(False)
    for weight in encoder.parameters():
        weight.normal_(std=0.3, generator=source)
    encoder.norm.weight.normal_(mean=1, std=0.1, generator=source)
    encoder.norm.bias += 0.5
    return PublishedConditioner(TOKENIZER, encoder)
