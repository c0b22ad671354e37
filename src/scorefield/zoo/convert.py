"""What becomes of a model's files in another layout: a diffusers folder and one ldm file, whole or a part of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from scorefield.nets.clip import EncoderConfig, TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import Unet
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.weights.entries import Entry, under
from scorefield.weights.folder import PIPELINE, Json, SourceError, components
from scorefield.weights.found import Found, Kind
from scorefield.weights.lora_names import TEXT, UNET
from scorefield.weights.lora_stack import Scales, Stack
from scorefield.weights.maps import clip, kl, unet
from scorefield.zoo import diffusers_texts as texts
from scorefield.zoo.convert_part import part_conversion
from scorefield.zoo.converting import METADATA, Change, Conversion, Piece, WeightsFile, left
from scorefield.zoo.filling import fits
from scorefield.zoo.lora import stacked
from scorefield.zoo.stable import NETWORKS, SPECS
from scorefield.zoo.stable_files import Networks, NotLoadableError, Parts, Place, find, parts, refusal
from scorefield.zoo.stable_sizes import stated

_PARTS = (Kind.UNET, Kind.VAE, Kind.CLIP)
_WORDS = 49408  # that both layouts know; a single file has no tokenizer of its own


def conversion(
    path: Path,
    *,
    to_folder: bool,
    prediction: str | None = None,
    loras: Sequence[tuple[str, Scales]] = (),
    networks: Networks | None = None,
) -> Conversion:
    """What it takes to have the model or the part at `path` in a diffusers folder or in one ldm file.

    Nothing is written yet. `prediction` (eps, v) is for files that do not tell, `networks` those of its family or those
    that a folder states. The LoRAs at those paths, each times its scales, go into the weights.
    SourceError for damaged files, NotLoadableError for what has no other layout here.
    """
    found = find(path)
    if found.kind in _PARTS and loras:
        raise NotLoadableError(f"{path} is {found.kind} alone; LoRAs go into a whole model")
    if found.kind in _PARTS:
        return part_conversion(path, found, to_folder=to_folder)
    if told := refusal(found, known=None if networks else NETWORKS):
        raise NotLoadableError(f"{path} {told}")
    networks = networks or NETWORKS.get(found.family) or stated(path)
    if networks.eye or networks.text_2:
        raise NotLoadableError(f"{path} has another tower beside its text tower, and is not converted")
    if found.facts.get("zero_snr"):
        raise NotLoadableError(f"{path} was trained to pure noise (zero terminal SNR), which is not converted")
    channels = found.facts["channels"]
    if isinstance(channels, int):  # nine for inpainting
        networks = replace(networks, unet=replace(networks.unet, in_channels=channels))
    places = parts(path, networks)
    if len(places.tokenizer) != _WORDS:
        raise NotLoadableError(
            f"{path} has {len(places.tokenizer)} tokens in its tokenizer, where the layouts have {_WORDS}: take its "
            "added words out, and give them as textual inversions"
        )
    _check(places, networks)
    stack = stacked(networks.unet, {TEXT: places.encoder.text}, loras)
    told_prediction = prediction or (found.prediction.value if found.prediction else None)
    if not to_folder:
        return _one_file(path, places, networks, told_prediction, stack)
    if told_prediction not in ("eps", "v"):
        why = found.prediction.why if found.prediction else "nothing tells what it predicts: say eps or v"
        raise NotLoadableError(f"{path}: {why} (prediction='v', or --prediction v)")
    return _folder(path, found, places, networks, told_prediction, stack)


def _check(places: Parts, networks: Networks) -> None:
    """SourceError if a part's keys or shapes are not those of its network."""
    with torch.device("meta"):
        nets: Sequence[tuple[str, nn.Module, Place]] = (
            ("U-Net", Unet(networks.unet), places.unet),
            ("autoencoder", Kl(networks.kl), places.kl),
            ("text tower", TextEncoder(places.encoder), places.text),
        )
    for name, net, place in nets:
        wanted: Mapping[str, Tensor] = net.state_dict()
        fits(wanted, name, *place)


def _one_file(path: Path, places: Parts, networks: Networks, prediction: str | None, stack: Stack) -> Conversion:
    prefix, words = _ldm_text(places.encoder)
    pieces = (
        _piece(places.unet, "model.diffusion_model.", unet.ldm(networks.unet), partial(stack.merged, UNET)),
        _piece(places.kl, "first_stage_model.", kl.ldm(networks.kl)),
        _piece(places.text, prefix, words, partial(stack.merged, TEXT)),
    )
    said = {} if prediction is None else {"modelspec.prediction_type": {"eps": "epsilon"}.get(prediction, prediction)}
    file = WeightsFile(name="", pieces=pieces, metadata=METADATA | said)
    return Conversion(files=(file,), texts={}, left=dict(left(pieces)) | _aside(path) | _unused(stack))


def _ldm_text(encoder: EncoderConfig) -> tuple[str, Iterator[Entry]]:
    """Where a single file has the text tower, and its names there: OpenCLIP's own for Stable Diffusion 2."""
    projected = encoder.embed_dim is not None
    if encoder.activation == "gelu":
        return "cond_stage_model.model.", clip.openai_text(encoder.text, projected=projected)
    return "cond_stage_model.transformer.", clip.transformers_text(encoder.text, projected=projected)


def _folder(path: Path, found: Found, places: Parts, networks: Networks, prediction: str, stack: Stack) -> Conversion:
    side = SPECS[found.family][prediction].defaults.width if found.family in SPECS else 512
    configs: dict[str, dict[str, Json]] = {
        "unet": texts.unet(networks.unet, side, upcast=side > 512),
        "vae": texts.vae(networks.kl, side),
        "text_encoder": texts.text_encoder(networks.text),
    }
    pieces = {
        "unet/diffusion_pytorch_model": _piece(
            places.unet, "", unet.diffusers(networks.unet), partial(stack.merged, UNET)
        ),
        "vae/diffusion_pytorch_model": _piece(places.kl, "", kl.diffusers(networks.kl)),
        "text_encoder/model": _piece(
            places.text, "", clip.transformers_text(networks.text.text, projected=False), partial(stack.merged, TEXT)
        ),
    }
    return Conversion(
        files=[
            WeightsFile(name=f"{name}.safetensors", pieces=(one,), metadata=METADATA) for name, one in pieces.items()
        ],
        texts=texts.pipeline(
            inpaints=networks.unet.in_channels == 9, prediction=prediction, networks=configs, pad=_pad(places.tokenizer)
        ),
        left=dict(left([*pieces.values()])) | _aside(path) | _unused(stack),
    )


def _piece(place: Place, prefix: str, written: Iterator[Entry], change: Change | None = None) -> Piece:
    return Piece(source=place.source, stored=place.entries, written=list(under("", prefix, written)), change=change)


def _pad(tokenizer: ClipTokenizer) -> str:
    word: str | None = tokenizer.tokenizer.id_to_token(tokenizer.pad_id)
    if word is None:
        raise SourceError(f"the tokenizer fills prompts up with {tokenizer.pad_id}, which is no token of its own")
    return word


def _unused(stack: Stack) -> dict[str, int]:
    """What of the LoRAs is of no layer of the model."""
    return {f"keys of {lora.path} that are of no layer": len(keys) for lora, keys in stack.unused.items() if keys}


def _aside(path: Path) -> dict[str, int]:
    """The parts of a folder that draw nothing and are left."""
    if not (path / PIPELINE).is_file():
        return {}
    named = components(path)
    return {name: 1 for name in ("safety_checker", "feature_extractor") if named.get(name)}
