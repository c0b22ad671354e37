"""The model that an unknown file resembles most, by fragments of its tensors' names."""

from collections.abc import Iterable

_LOOKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a Stable Diffusion U-Net in the ldm layout", ("input_blocks.", "middle_block.", ".attn2.to_k.", "time_embed.")),
    ("a Stable Diffusion U-Net in the diffusers layout", ("down_blocks.", "mid_block.", ".attn2.to_k.", "conv_in.")),
    ("a ControlNet", ("zero_convs.", "input_hint_block.", "middle_block_out.")),
    ("a ControlNet in the diffusers layout", ("controlnet_cond_embedding.", "controlnet_down_blocks.")),
    ("a GLIDE U-Net", ("input_blocks.", ".encoder_kv.", "transformer.resblocks.", "padding_embedding")),
    ("a Karlo decoder", ("input_blocks.", "cf_param", "clip_tok_proj.", ".encoder_kv.")),
    ("a Karlo prior", ("prd_emb", "text_enc_proj.", "transformer.resblocks.")),
    ("a Karlo prior in the diffusers layout", ("prd_embedding", "proj_to_clip_embeddings.", "transformer_blocks.")),
    ("a U-Net of guided diffusion (ADM)", ("input_blocks.", "middle_block.", ".qkv.", "time_embed.")),
    ("a U-Net of score_sde", ("all_modules.", "sigmas", ".GroupNorm_0.")),
    ("a DDPM U-Net in the diffusers layout", ("down_blocks.", "up_blocks.", "time_embedding.linear_1.", "conv_in.")),
    ("a DDPM U-Net in the layout of ermongroup/ddim", ("temb.dense.", "down.0.block.", "up.0.block.", "temb_proj.")),
    ("a Wan video transformer", ("patch_embedding.", "text_embedding.0.", ".cross_attn.norm_k.", "head.modulation")),
    ("a Wan video transformer in the diffusers layout",
     ("patch_embedding.", "condition_embedder.", "scale_shift_table")),
    ("a Wan autoencoder", ("encoder.downsamples.", ".residual.0.gamma", "decoder.head.")),
    ("a T5 text encoder", ("shared.weight", ".SelfAttention.", ".DenseReluDense.")),
    ("a T5 text encoder in Wan's layout", ("token_embedding.", ".pos_embedding.embedding.", ".ffn.gate.")),
    ("a Flux transformer", ("double_blocks.", "single_blocks.")),
    ("a Stable Diffusion 3 transformer", ("joint_blocks.",)),
    ("a Stable Diffusion autoencoder in the ldm layout", ("encoder.down.", "decoder.up.", "quant_conv.")),
    ("a Stable Diffusion autoencoder in the diffusers layout",
     ("encoder.down_blocks.", "decoder.up_blocks.", "quant_conv.")),
    ("a CLIP model with convolutions (RN50 and its like)", ("visual.layer1.", "visual.attnpool.")),
    ("a CLIP model in OpenAI's layout", ("visual.", "transformer.resblocks.", "token_embedding.")),
    ("a CLIP model in the transformers layout", ("text_model.", "vision_model.", "self_attn.q_proj.")),
)  # fmt: skip


def resemblance(names: Iterable[str]) -> str | None:
    """The model with the largest share of its fragments in `names`, if that is more than half; else None."""
    every = "\n".join(names)
    shares = [(sum(fragment in every for fragment in fragments) / len(fragments), look) for look, fragments in _LOOKS]
    share, look = max(shares, key=lambda one: one[0])  # the first of equals: the list goes from special to general
    return look if share > 0.5 else None
