"""Folders that diffusers itself writes, whole and in shards, plain and of a variant, are read to the bit."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import Kind, Layout


def _unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, cross_attention_dim=32, attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter)
    return unet


@pytest.mark.parametrize("size", ["300KB", "1GB"])
@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_of_diffusers_is_read_to_the_bit(tmp_path: Path, variant: str | None, safe: bool, size: str) -> None:
    unet = _unet()
    unet.save_pretrained(tmp_path, max_shard_size=size, variant=variant, safe_serialization=safe)
    source, wanted = Reader(tmp_path, variant), unet.state_dict()
    assert (len(source.index.files) > 5) == (size == "300KB")
    assert source.tensors.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert tensor.isfinite().all()
        assert torch.equal(source.fetch(name), tensor), name
    found = identify_file(source.index)
    assert (found.kind, found.layout) == (Kind.UNET, Layout.DIFFUSERS)
    assert found.parts["unet"].numbers == sum(parameter.numel() for parameter in unet.parameters())
