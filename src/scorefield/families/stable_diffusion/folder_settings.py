"""The settings in a diffusers folder: those that are sizes of networks, and the supported values of all others."""

from collections.abc import Mapping

from scorefield.input_files import Json
from scorefield.weights.detect.identify import STATED

# The keys of a network's config.json that are fields of our configuration, unchanged.
UNET = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "layers_per_block": "resblocks",
    "cross_attention_dim": "context_width",
}
VAE = {"latent_channels": "channels", "layers_per_block": "resblocks"}
_ENCODER = {"hidden_size": "width", "num_hidden_layers": "layers", "num_attention_heads": "heads"}
TEXT = {**_ENCODER, "max_position_embeddings": "context_length", "vocab_size": "vocab_size"}
VISION = {**_ENCODER, "patch_size": "patch_size", "image_size": "image_size"}


def _values(names: str, *values: Json) -> dict[str, tuple[Json, ...]]:
    """These settings with their supported values.

    No values means that any value is fine: the setting is read elsewhere, or changes no picture.
    """
    return dict.fromkeys(names.split(), values)


_UNET = {
    **_values(
        "in_channels out_channels block_out_channels down_block_types up_block_types layers_per_block "
        "attention_head_dim cross_attention_dim transformer_layers_per_block use_linear_projection class_embed_type "
        "addition_embed_type addition_time_embed_dim projection_class_embeddings_input_dim sample_size dropout "
        "upcast_attention addition_embed_type_num_heads decay inv_gamma min_decay optimization_step power "
        "update_after_step use_ema_warmup"
    ),
    **_values("center_input_sample class_embeddings_concat dual_cross_attention only_cross_attention", False),
    **_values(
        "cross_attention_norm encoder_hid_dim encoder_hid_dim_type num_attention_heads num_class_embeds "
        "reverse_transformer_layers_per_block time_cond_proj_dim time_embedding_act_fn time_embedding_dim "
        "timestep_post_act",
        None,
    ),
    **_values("conv_in_kernel conv_out_kernel", 3),
    **_values("downsample_padding mid_block_scale_factor resnet_out_scale_factor", 1),
    **_values("attention_type resnet_time_scale_shift", "default"),
    "_class_name": ("UNet2DConditionModel",),
    "act_fn": ("silu", "swish"),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "norm_eps": (1e-05,),
    "norm_num_groups": (32,),
    "resnet_skip_time_act": (False,),
    "time_embedding_type": ("positional",),
}
_VAE = {
    **_values("block_out_channels layers_per_block latent_channels scaling_factor latents_mean latents_std"),
    **_values("sample_size force_upcast"),
    **_values("in_channels out_channels", 3),
    **_values("mid_block_add_attention use_post_quant_conv use_quant_conv", True),
    "_class_name": ("AutoencoderKL",),
    "act_fn": ("silu", "swish"),
    "down_block_types": ("DownEncoderBlock2D",),
    "norm_num_groups": (32,),
    "shift_factor": (None, 0),
    "up_block_types": ("UpDecoderBlock2D",),
}
_CLIP = {
    **_values(
        "hidden_size intermediate_size num_hidden_layers num_attention_heads max_position_embeddings vocab_size "
        "hidden_act projection_dim image_size patch_size attention_dropout dropout initializer_factor "
        "initializer_range"
    ),
    **_values(  # what transformers writes into the configuration of every model
        "add_cross_attention architectures attn_implementation bad_words_ids begin_suppress_tokens bos_token_id "
        "chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dtype "
        "early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task "
        "forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label is_decoder is_encoder_decoder "
        "label2id length_penalty logit_scale_init_value max_length min_length model_type no_repeat_ngram_size "
        "num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states output_scores "
        "pad_token_id prefix problem_type pruned_heads remove_invalid_values repetition_penalty return_dict "
        "return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss "
        "tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript "
        "transformers_version typical_p use_bfloat16 use_cache"
    ),
    "eos_token_id": (None, 2, 49407),
    "layer_norm_eps": (1e-05,),
    "num_channels": (3,),
}
_SOLVERS = (
    "DDIM DDIMInverse DDIMParallel DDPM DDPMParallel DEISMultistep DPMSolverMultistep DPMSolverMultistepInverse "
    "DPMSolverSDE DPMSolverSinglestep EulerAncestralDiscrete EulerDiscrete HeunDiscrete KDPM2AncestralDiscrete "
    "KDPM2Discrete LCM LMSDiscrete PNDM SASolver TCD UniPCMultistep"
)
_SCHEDULER = {
    **_values(  # the first is read; the request chooses the solver and its order
        "rescale_betas_zero_snr algorithm_type corrector_order disable_corrector dynamic_thresholding_ratio "
        "clip_sample_range euler_at_final final_sigmas_type flow_shift lambda_min_clipped lower_order_final "
        "noise_sampler_seed original_inference_steps predict_x0 predictor_order sample_max_value set_alpha_to_one "
        "skip_prk_steps snr_shift_scale solver_order solver_p solver_type steps_offset tau_func time_shift_type "
        "timestep_scaling use_lu_lambdas"
    ),
    **_values("clip_sample thresholding use_dynamic_shifting use_flow_sigmas", False),
    **_values("shift_terminal sigma_max sigma_min trained_betas", None),
    **_values("use_beta_sigmas use_exponential_sigmas", True, False),
    "_class_name": tuple(f"{name}Scheduler" for name in _SOLVERS.split()),
    "beta_end": (0.012,),
    "beta_schedule": ("scaled_linear",),
    "beta_start": (0.00085,),
    "interpolation_type": ("linear",),
    "num_train_timesteps": (1000,),
    "prediction_type": (*STATED, None),
    "shift": (1,),
    "timestep_spacing": ("leading", "linspace", "trailing"),
    "timestep_type": ("discrete",),
    "use_karras_sigmas": (True, False, None),
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
}
_IMAGE_NOISE = {
    **_values(
        "_class_name beta_start beta_end clip_sample clip_sample_range dynamic_thresholding_ratio prediction_type "
        "rescale_betas_zero_snr sample_max_value steps_offset thresholding timestep_spacing variance_type"
    ),
    "beta_schedule": ("squaredcos_cap_v2",),
    "num_train_timesteps": (1000,),
    "trained_betas": (None,),
}
_PIPELINE = {
    **_values("add_watermarker force_zeros_for_empty_prompt requires_safety_checker"),
    **_values("is_cosxl_edit requires_aesthetics_score", False),
}
ALLOWED: Mapping[str, Mapping[str, tuple[Json, ...]]] = {
    "unet": _UNET,
    "vae": _VAE,
    "text_encoder": _CLIP,
    "text_encoder_2": _CLIP,
    "image_encoder": _CLIP,
    "scheduler": _SCHEDULER,
    "image_noising_scheduler": _IMAGE_NOISE,
    "pipeline": _PIPELINE,
}
SCHEDULES: tuple[tuple[str, Json, str], ...] = (  # what a scheduler states, and its name here
    ("use_karras_sigmas", True, "karras"),
    ("use_exponential_sigmas", True, "exponential"),
    ("use_beta_sigmas", True, "beta_sigma"),
    ("timestep_spacing", "trailing", "trailing"),
)
