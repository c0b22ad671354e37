"""The child process for diffusers' U-Net: `python -m scorefield.bench.theirs SETTING FOLDER`."""

import json
from pathlib import Path

import torch
from torch import Tensor

from scorefield.bench.child import Load, Peak, Step, prepared, serve
from scorefield.bench.task import Setting
from scorefield.nets.unet import UnetConfig

MISSING = "diffusers is not installed: pip install 'scorefield[bench]'"


def write_config(config: UnetConfig, folder: Path) -> None:
    """Write diffusers' config.json for the same network."""
    widths = [config.channels * multiplier for multiplier in config.multipliers]
    written = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": config.in_channels,
        "block_out_channels": widths,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in config.depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(config.depths)],
        "layers_per_block": config.resblocks,
        "cross_attention_dim": config.context_width,
        # The number of heads, despite its name: huggingface/diffusers#2011.
        "attention_head_dim": [config.heads_at(width) for width in widths],
        "use_linear_projection": config.linear_projections,
    }
    (folder / "config.json").write_text(json.dumps(written), encoding="utf-8")


def program() -> Load:
    """Import diffusers and return its loader."""
    try:
        from diffusers import UNet2DConditionModel
    except ImportError:
        raise SystemExit(MISSING) from None

    def load(setting: Setting, folder: Path) -> tuple[Step, Peak]:
        net = UNet2DConditionModel.from_pretrained(  # type: ignore[no-untyped-call]
            folder, torch_dtype=setting.torch_dtype
        )
        net.to(setting.device).eval().requires_grad_(False)
        if setting.channels_last:
            net.to(memory_format=torch.channels_last)
        queries = [weight for name, weight in net.named_parameters() if name.endswith("to_q.weight")]
        run = prepared(net, setting)

        def step(x: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
            made: Tensor = run(x, time, tokens, return_dict=False)[0]
            return made

        def peak(factor: float) -> None:
            for weight in queries:
                weight *= factor

        return step, peak

    return load


if __name__ == "__main__":
    serve(program)
